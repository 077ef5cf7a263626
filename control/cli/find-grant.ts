import type { ApiClient } from '../api/client.ts'
import type { Grant } from '../api/shapes.ts'
import { findByPrefix } from './find-by-prefix.ts'

/** A grant by its id or the beginning of it. Ended ones too: then control says why it cannot be changed. */
export function findGrant(api: ApiClient, text: string): Promise<Grant> {
  return findByPrefix(text, {
    what: 'grant',
    listedBy: 'sally grants',
    one: (id) => api.call('grant', { params: { id } }),
    page: (query) => api.call('grants', { query: { ...query, state: 'all' } }),
  })
}
