import type { z } from 'zod'
import type { jwks } from '../api/http.ts'
import { nowMs, type Control } from '../control.ts'

/** The keys that apps may believe now: of proxies that are not revoked, in time. */
export async function listAssertionKeys({
  realm,
  state,
  clock,
}: Pick<Control, 'realm' | 'state' | 'clock'>): Promise<z.output<typeof jwks>> {
  const rows = await state.query<{ kid: string; x: string; y: string }>(
    `select k.kid, k.x, k.y from assertion_keys k
     join proxies p on p.realm = k.realm and p.id = k.proxy_id
     where k.realm = $1 and k.expires_at_ms > $2 and p.revoked_at_ms is null
     order by k.added_at_ms desc, k.kid`,
    [realm, nowMs(clock)],
  )
  return {
    keys: rows.map(({ kid, x, y }) => {
      return { ...{ kty: 'EC', crv: 'P-256', use: 'sig', alg: 'ES256' }, kid, x, y } as const
    }),
  }
}
