import type { ApiClient } from '../../control/api/client.ts'
import { checkpointHeader } from '../../control/api/routes.ts'
import type { AuditStore } from '../audit/ship-parcel.ts'

/** Control's side of the audit over the API. `api` is asked each time: certificates are renewed. */
export function createAuditStore(api: () => ApiClient): AuditStore {
  return {
    storeSegments: (bytes, checkpoint) =>
      api().call('proxySegments', {
        binaryBody: bytes,
        headers: { [checkpointHeader]: checkpoint },
      }),
    storeBlob: ({ sha256, sessionId, offset, total, bytes }) =>
      api().call('proxyBlob', {
        params: { sha256 },
        query: { session: sessionId, offset, total },
        binaryBody: bytes,
      }),
    quarantine: (bytes, why) =>
      api().call('proxyQuarantine', { query: { why }, binaryBody: bytes }),
  }
}
