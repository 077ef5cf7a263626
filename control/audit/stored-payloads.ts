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
  hidden = false,
): string {
  return `sallyport-${hidden ? 'hidden-' : ''}payloads|${realm}|${epoch}|${firstBatch}|${session}`
}

/**
 * The payloads (salt included) of one session in a segment, by sequence; `hidden`: those under its second key. None where the key was
 * destroyed. Rejects as below. Not inside a transaction.
 */
export async function readSessionPayloads(
  context: Pick<AuditContext, 'store' | 'envelope' | 'realm'>,
  place: SegmentPlace,
  session: string,
  hidden: boolean,
): Promise<Map<number, Buffer>> {
  const rows = await context.store.query<{ ciphertext: Buffer }>(
    `select ciphertext from ${hidden ? 'audit_hidden_payloads' : 'audit_payloads'}
     where chain_id = $1 and first_batch = $2 and session_id = $3`,
    [place.chainId, place.firstBatch, session],
  )
  const table = hidden ? 'audit_hidden_keys' : 'audit_session_keys'
  const keys = await openSessionKeys(context, place.proxyId, [session], table)
  const key = keys.get(session)
  const payloads = new Map<number, Buffer>()
  const label = payloadLabel(context.realm, place.epoch, place.firstBatch, session, hidden)
  for (const { ciphertext } of rows) {
    if (key !== undefined) readPayloadGroup(unseal(key, ciphertext, label), payloads)
  }
  return payloads
}

/**
 * The payloads (salt included) of a segment by sequence. Those whose key was destroyed are missing, and what was typed unseen. Rejects with
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
