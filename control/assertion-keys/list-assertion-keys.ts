import type { z } from 'zod'
import type { jwks } from '../api/http.ts'
import { nowMs, type Control } from '../control.ts'

type Key = z.output<typeof jwks>['keys'][number]

/** The keys that apps may believe now: of proxies that are not revoked, in time; each with the domain that its proxy speaks for. */
export async function listAssertionKeys({
  realm,
  state,
  clock,
}: Pick<Control, 'realm' | 'state' | 'clock'>): Promise<{ domain: string; key: Key }[]> {
  const rows = await state.query<{ kid: string; x: string; y: string; domain: string }>(
    `select k.kid, k.x, k.y, g.domain from assertion_keys k
     join proxies p on p.realm = k.realm and p.id = k.proxy_id
     join proxy_groups g on g.realm = p.realm and g.name = p.group_name
     where k.realm = $1 and k.expires_at_ms > $2 and p.revoked_at_ms is null
     order by k.added_at_ms desc, k.kid`,
    [realm, nowMs(clock)],
  )
  return rows.map(({ domain, kid, x, y }) => {
    return { domain, key: { kty: 'EC', crv: 'P-256', use: 'sig', alg: 'ES256', kid, x, y } }
  })
}
