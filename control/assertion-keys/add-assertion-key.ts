import { createPublicKey } from 'node:crypto'
import type { z } from 'zod'
import { assertionKeyId, type AssertionKey, type assertionKeyAdded } from '../api/http.ts'
import { InvalidInput } from '../api/problem.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { notAllowed } from '../refusals.ts'

/** A proxy adds its key each day: one day that it cannot is no gap. */
const validForMs = 48 * 3_600_000
/** Of one proxy at a time. */
const liveMax = 3

/**
 * Publishes a proxy's key for signed identities, or goes on publishing it. Of more than three the one that was added longest ago goes. Rejects with
 * `request-invalid` for what is no point of the curve, and `not-allowed` for a proxy that was revoked meanwhile.
 */
export async function addAssertionKey(
  control: Control,
  proxy: { readonly id: string; readonly name: string },
  remoteAddress: string,
  key: AssertionKey,
): Promise<z.output<typeof assertionKeyAdded>> {
  const { realm, clock } = control
  requirePoint(key)
  const kid = assertionKeyId(key)
  return control.state.transaction(async (sql) => {
    // Held to the commit: of many keys at a time no more than three are left.
    const [row] = await sql.query<{ revoked: boolean }>(
      `select revoked_at_ms is not null as revoked from proxies
       where realm = $1 and id = $2 for update`,
      [realm, proxy.id],
    )
    if (row?.revoked !== false) throw notAllowed('this proxy was revoked')
    const atMs = nowMs(clock)
    const expiresAtMs = atMs + validForMs
    await sql.query(
      'delete from assertion_keys where realm = $1 and proxy_id = $2 and expires_at_ms <= $3',
      [realm, proxy.id, atMs],
    )
    const [known] = await sql.query(
      `update assertion_keys set added_at_ms = $4, expires_at_ms = $5
       where realm = $1 and proxy_id = $2 and kid = $3 returning 1`,
      [realm, proxy.id, kid, atMs, expiresAtMs],
    )
    if (known !== undefined) return { kid, expiresAtMs }
    await sql.query(
      `insert into assertion_keys (realm, proxy_id, kid, x, y, added_at_ms, expires_at_ms)
       values ($1, $2, $3, $4, $5, $6, $7)`,
      [realm, proxy.id, kid, key.x, key.y, atMs, expiresAtMs],
    )
    await sql.query(
      `delete from assertion_keys where realm = $1 and proxy_id = $2 and kid in (
         select kid from assertion_keys where realm = $1 and proxy_id = $2 and kid <> $3
         order by added_at_ms desc, kid offset $4)`,
      [realm, proxy.id, kid, liveMax - 1],
    )
    const actor: Actor = { id: proxy.id, email: `proxy ${proxy.name}`, remoteAddress }
    await appendControlAction(sql, control.chain, actor, {
      action: 'assertion-key.added',
      target: kid,
      details: { proxyId: proxy.id, expiresAtMs },
    })
    return { kid, expiresAtMs }
  })
}

function requirePoint(key: AssertionKey): void {
  try {
    createPublicKey({ key, format: 'jwk' })
  } catch {
    throw new InvalidInput('request-invalid', 'this is no public key of P-256', [
      { path: 'x', message: 'must be a point of the curve' },
    ])
  }
}
