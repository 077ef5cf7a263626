/**
 * Join tokens: `sallyport-join.<secret>.<pin>`. The secret lets one proxy in, once, within minutes; the pin (SHA-256 of the DER
 * of control's authority, hex) lets that proxy know control before it has anything of control's.
 */
import { createHash, hash, randomBytes, timingSafeEqual, X509Certificate } from 'node:crypto'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { missing } from '../refusals.ts'
import type { Sql } from '../store/store.ts'

const prefix = 'sallyport-join'
const secretBytes = 32
const form = /^sallyport-join\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})$/

/** Makes a token for a group; the only time its secret is seen. Rejects with `not-found`. */
export async function createJoinToken(
  control: Control,
  actor: Actor,
  group: string,
): Promise<{ token: string; expiresAtMs: number }> {
  const { realm, settings, keys } = control
  const secret = randomBytes(secretBytes)
  const madeAtMs = nowMs(control.clock)
  const expiresAtMs = madeAtMs + settings.joinTokenMs
  await control.state.transaction(async (sql) => {
    const found = await sql.query(
      'select 1 from proxy_groups where realm = $1 and name = $2 for share',
      [realm, group],
    )
    if (found.length === 0) throw missing(`proxy group ${group}`)
    await sql.query(
      `insert into join_tokens (realm, token_hash, group_name, made_by, made_at_ms, expires_at_ms)
       values ($1, $2, $3, $4, $5, $6)`,
      [realm, digestOf(secret), group, actor.email, madeAtMs, expiresAtMs],
    )
    await appendControlAction(sql, control.chain, actor, {
      action: 'join-token.made',
      target: group,
      details: { expiresAtMs },
    })
  })
  const token = `${prefix}.${secret.toString('base64url')}.${pinOf(keys.authorities.control.certificatePem)}`
  return { token, expiresAtMs }
}

/** SHA-256 of a certificate's DER, hex. */
export function pinOf(certificatePem: string): string {
  return hash('sha256', new X509Certificate(certificatePem).raw)
}

/** Uses a token up within the caller's transaction and returns its group. Rejects with `join-token-invalid`. */
export async function redeemJoinToken(
  sql: Sql,
  control: Pick<Control, 'realm' | 'clock'>,
  token: string,
  proxyId: string,
): Promise<string> {
  const secret = form.exec(token)?.[1]
  if (secret === undefined) throw refusal('it does not look like one')
  const digest = digestOf(Buffer.from(secret, 'base64url'))
  const atMs = nowMs(control.clock)
  // The row is found by its digest: what time the index takes tells about a hash, and not about the secret.
  const [row] = await sql.query<{
    token_hash: Buffer
    group_name: string
    expires_at_ms: number
    used_at_ms: number | null
  }>(
    `select token_hash, group_name, expires_at_ms, used_at_ms from join_tokens
     where realm = $1 and token_hash = $2 for update`,
    [control.realm, digest],
  )
  if (row === undefined || !timingSafeEqual(row.token_hash, digest)) throw refusal('unknown')
  if (row.used_at_ms !== null) throw refusal('it was used before')
  if (row.expires_at_ms <= atMs) throw refusal('it has expired')
  await sql.query(
    `update join_tokens set used_at_ms = $3, used_by = $4
     where realm = $1 and token_hash = $2`,
    [control.realm, digest, atMs, proxyId],
  )
  return row.group_name
}

function digestOf(secret: Buffer): Buffer {
  return createHash('sha256').update(secret).digest()
}

/** The caller learns nothing about which it was; the log does. */
function refusal(why: string): SallyportError {
  return new SallyportError('join-token-invalid', `join token refused: ${why}`, {
    clientMessage: 'the join token is not valid: it may be mistyped, used or older than its time',
    hint: 'make a new one: sally proxy join-token',
  })
}
