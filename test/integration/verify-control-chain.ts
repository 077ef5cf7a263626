import { verifySegments, type VerificationReport } from '../../control/api/audit/verify-chain.ts'
import type { ApiClient } from '../../control/api/client.ts'
import { storedSegments } from '../../control/cli/stored-segments.ts'

/** Fetches every stored chain through the API and verifies it, as `sally audit verify` does. */
export async function verifyControlChain(
  api: ApiClient,
  payloads: 'with' | 'without',
): Promise<VerificationReport> {
  const keys = await api.call('auditKeys')
  return verifySegments(
    storedSegments(api, payloads, () => {}),
    keys,
  )
}
