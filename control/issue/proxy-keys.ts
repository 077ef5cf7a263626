/** The public keys of proxies' certificates: what browsers bring from a proxy is signed with them. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { keyIdOf } from '../../certs/key-signer.ts'
import type { Sql } from '../store/store.ts'

/** Idempotent. */
export async function keepProxyKey(
  sql: Sql,
  realm: string,
  { certificateSerial, publicKey }: { certificateSerial: string; publicKey: KeyObject },
): Promise<void> {
  await sql.query(
    `update certificates set key_id = $3, public_key_pem = $4
     where realm = $1 and serial = $2 and kind = 'proxy' and key_id is null`,
    [
      ...[realm, certificateSerial, keyIdOf(publicKey)],
      publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    ],
  )
}

export interface KnownProxyKey {
  readonly proxyId: string
  readonly group: string
  readonly domain: string
  readonly publicKey: KeyObject
}

/** The key of a certificate that counts, of a proxy that was not revoked. */
export async function findProxyKey(
  sql: Sql,
  realm: string,
  keyId: string,
  atMs: number,
): Promise<KnownProxyKey | undefined> {
  const [row] = await sql.query<Omit<KnownProxyKey, 'publicKey'> & { pem: string }>(
    `select p.id as "proxyId", p.group_name as "group", g.domain, c.public_key_pem as pem
     from certificates c
     join proxies p on p.realm = c.realm and p.id = c.holder_id and p.revoked_at_ms is null
     join proxy_groups g on g.realm = p.realm and g.name = p.group_name
     where c.realm = $1 and c.key_id = $2 and c.kind = 'proxy' and c.revoked_at_ms is null
       and c.expires_at_ms > $3 and c.public_key_pem is not null`,
    [realm, keyId, atMs],
  )
  if (row === undefined) return undefined
  const { pem, ...known } = row
  return { ...known, publicKey: createPublicKey(pem) }
}
