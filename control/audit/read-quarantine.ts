import { unseal } from '../../protocols/kit/sealed-file.ts'
import type { AuditContext } from './dependencies.ts'
import { quarantineLabel } from './quarantine.ts'
import { quarantineClass } from './retention-classes.ts'

export interface QuarantinedBytes {
  quarantineId: number
  proxyId: string
  why: string
  receivedAtMs: number
  batches: number
  /** Verbatim; undefined once retention has destroyed them. */
  bytes: Buffer | undefined
}

/** One quarantined piece, decrypted, for whoever looks into a conflict; undefined if there is none. */
export async function readQuarantine(
  { store, envelope, realm }: Pick<AuditContext, 'store' | 'envelope' | 'realm'>,
  quarantineId: number,
): Promise<QuarantinedBytes | undefined> {
  const [row] = await store.query<{
    proxy_id: string
    why: string
    sha256: string
    batches: number
    wrapped: Buffer | null
    ciphertext: Buffer | null
    received_at_ms: number
  }>(
    `select proxy_id, why, sha256, batches, wrapped, ciphertext, received_at_ms
     from audit_quarantine where realm = $1 and quarantine_id = $2`,
    [realm, quarantineId],
  )
  if (row === undefined) return undefined
  const label = quarantineLabel(row.proxy_id, row.sha256)
  let bytes: Buffer | undefined
  if (row.wrapped !== null && row.ciphertext !== null) {
    const key = await envelope.openDataKey(realm, quarantineClass, row.wrapped, label)
    bytes = unseal(key, row.ciphertext, label)
  }
  return {
    quarantineId,
    proxyId: row.proxy_id,
    why: row.why,
    receivedAtMs: row.received_at_ms,
    batches: row.batches,
    bytes,
  }
}
