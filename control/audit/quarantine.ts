import { hash } from 'node:crypto'
import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import { cleanText, cutText } from './clean-text.ts'
import type { AuditContext } from './dependencies.ts'
import { quarantineClass } from './retention-classes.ts'

export interface Quarantined {
  readonly proxyId: string
  readonly bytes: Buffer
  /** What is wrong with them. */
  readonly why: string
  /** How many batches they are, where that is known. */
  readonly batches: number
}

/**
 * Keeps bytes that fit nowhere, verbatim and encrypted, and says so loudly. The same bytes again are kept once. Not to be
 * called inside a transaction.
 */
export async function quarantine(
  { store, envelope, realm, clock, log, metrics }: AuditContext,
  { proxyId, bytes, why, batches }: Quarantined,
): Promise<void> {
  const sha256 = hash('sha256', bytes, 'hex')
  const label = quarantineLabel(proxyId, sha256)
  const { key, wrapped } = await envelope.createDataKey(realm, quarantineClass, label)
  const rows = await store.query<{ quarantine_id: number }>(
    `insert into audit_quarantine
       (realm, proxy_id, why, sha256, verbatim_bytes, batches, wrapped, ciphertext, received_at_ms)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     on conflict (realm, proxy_id, sha256) do nothing returning quarantine_id`,
    [
      realm,
      proxyId,
      cutText(cleanText(why), 1_000),
      sha256,
      bytes.length,
      batches,
      wrapped,
      seal(key, bytes, label),
      Math.floor(clock.wallMs()),
    ],
  )
  if (rows.length === 0) return
  metrics.quarantined(Math.max(1, batches))
  log.error(
    { proxyId, why, sha256, bytes: bytes.length, batches },
    'audit went to quarantine: it does not fit what is stored; compare it with the proxy',
  )
}

/** What a quarantined row's key and ciphertext are bound to. */
function quarantineLabel(proxyId: string, sha256: string): string {
  return `sallyport-quarantine|${proxyId}|${sha256}`
}

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
