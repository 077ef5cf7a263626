import { unseal } from '../../protocols/kit/sealed-file.ts'
import type { AuditContext } from './dependencies.ts'
import { readPayloadGroup } from './received-chunk.ts'
import { openSessionKeys } from './session-keys.ts'

/** A stored chunk, by its place. */
export interface SegmentPlace {
  readonly proxyId: string
  readonly epoch: string
  readonly chainId: number
  readonly firstBatch: number
}

/** What the ciphertext of a session's payloads in one segment is bound to. */
export function payloadLabel(
  realm: string,
  epoch: string,
  firstBatch: number,
  session: string,
): string {
  return `sallyport-payloads|${realm}|${epoch}|${firstBatch}|${session}`
}

/**
 * The payloads (salt included) of a segment by sequence. Those whose key was destroyed are missing. Rejects with
 * `sealed-file-invalid` where a ciphertext was changed. Not inside a transaction.
 */
export async function readStoredPayloads(
  context: Pick<AuditContext, 'store' | 'envelope' | 'realm'>,
  place: SegmentPlace,
): Promise<Map<number, Buffer>> {
  const rows = await context.store.query<{ session_id: string; ciphertext: Buffer }>(
    'select session_id, ciphertext from audit_payloads where chain_id = $1 and first_batch = $2',
    [place.chainId, place.firstBatch],
  )
  const sessions = rows.map((row) => row.session_id)
  const keys = await openSessionKeys(context, place.proxyId, sessions)
  const payloads = new Map<number, Buffer>()
  for (const row of rows) {
    const key = keys.get(row.session_id)
    if (key === undefined) continue
    const label = payloadLabel(context.realm, place.epoch, place.firstBatch, row.session_id)
    readPayloadGroup(unseal(key, row.ciphertext, label), payloads)
  }
  return payloads
}
