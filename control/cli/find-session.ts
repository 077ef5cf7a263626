import type { ApiClient } from '../api/client.ts'
import type { SessionView } from '../api/shapes.ts'
import { findByPrefix } from './find-by-prefix.ts'

/** A session by its id or the beginning of it; prefixes are looked for among `state` only. */
export function findSession(
  api: ApiClient,
  text: string,
  state: 'live' | 'all',
): Promise<SessionView> {
  return findByPrefix(text, {
    what: state === 'live' ? 'live session' : 'session',
    listedBy: state === 'live' ? 'sally sessions --live' : 'sally sessions',
    one: (id) => api.call('session', { params: { id } }),
    page: (query) => api.call('sessions', { query: { ...query, state } }),
  })
}
