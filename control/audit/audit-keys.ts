import type { KeyObject } from 'node:crypto'
import type { Sql } from '../store/store.ts'
import type { AuditKeys } from '../api/shapes.ts'
import type { AuditContext } from './dependencies.ts'

export type KeyUse = 'checkpoint' | 'countersignature'

/** Keeps a public key for as long as there are chains that it verifies. */
export async function rememberKey(
  sql: Sql,
  { realm, clock }: Pick<AuditContext, 'realm' | 'clock'>,
  chain: string,
  use: KeyUse,
  kid: string,
  publicKey: KeyObject,
): Promise<void> {
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  await sql.query(
    `insert into audit_keys (realm, chain, use, kid, public_key_pem, first_seen_at_ms)
     values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
    [realm, chain, use, kid, pem, Math.floor(clock.wallMs())],
  )
}

/** Keeps control's own audit key, which signs the heads of its own chain and countersigns those of proxies. */
export async function rememberControlKey(
  context: Pick<AuditContext, 'store' | 'realm' | 'clock' | 'signer'>,
): Promise<void> {
  const { store, signer } = context
  for (const use of ['checkpoint', 'countersignature'] as const) {
    await rememberKey(store, context, 'control', use, signer.kid, signer.publicKey)
  }
}

/** All public keys that verify what is stored. */
export async function readAuditKeys({
  store,
  realm,
}: Pick<AuditContext, 'store' | 'realm'>): Promise<AuditKeys> {
  const rows = await store.query<{
    kid: string
    chain: string
    use: KeyUse
    public_key_pem: string
  }>(
    `select kid, chain, use, public_key_pem from audit_keys
     where realm = $1 order by chain, use, first_seen_at_ms, kid`,
    [realm],
  )
  return {
    keys: rows.map((row) => ({
      kid: row.kid,
      chain: row.chain,
      use: row.use,
      publicKeyPem: row.public_key_pem,
    })),
  }
}
