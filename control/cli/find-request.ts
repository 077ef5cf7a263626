import type { ApiClient } from '../api/client.ts'
import type { AccessRequest } from '../api/request.ts'
import { findByPrefix } from './find-by-prefix.ts'

/** A request by its id or the beginning of it. Decided ones too: then control says why it cannot be changed. */
export function findRequest(api: ApiClient, text: string): Promise<AccessRequest> {
  return findByPrefix(text, {
    what: 'request',
    listedBy: 'sally requests',
    one: (id) => api.call('request', { params: { id } }),
    page: (query) => api.call('requests', { query: { ...query, mine: 'all', state: 'all' } }),
  })
}
