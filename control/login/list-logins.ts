import type { z } from 'zod'
import type { ListedLogin, loginsQuery } from '../api/login-view.ts'
import { nowMs, type Control } from '../control.ts'
import { readPage } from '../read-page.ts'
import { loginViewOf, type LoginRow } from './login-row.ts'

type ListedRow = Omit<LoginRow, 'personId' | 'refreshingUntilMs' | 'proxyId'> &
  Pick<ListedLogin, 'personEmail' | 'proxyName' | 'endReason'>

/** Newest first. `ownerId`: only this person's; undefined: everybody's. */
export async function listLogins(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  ownerId: string | undefined,
  query: z.output<typeof loginsQuery>,
): Promise<{ items: ListedLogin[]; next: string | null }> {
  const atMs = nowMs(clock)
  return readPage(
    query,
    (page) =>
      state.query<ListedRow>(
        `select l.id, l.issuer, l.auth_time_ms as "authTimeMs", l.acr, l.amr,
       l.begun_at_ms as "begunAtMs", l.ends_at_ms as "endsAtMs", l.ended_at_ms as "endedAtMs",
       l.end_reason as "endReason", l.sealed_refresh_token as "sealedRefreshToken",
       p.email as "personEmail", x.name as "proxyName"
     from logins l
       join people p on p.realm = l.realm and p.id = l.person_id
       left join proxies x on x.realm = l.realm and x.id = l.proxy_id
     where l.realm = $1
       and ($2::uuid is null or l.person_id = $2)
       and ($3::text is null or p.email = $3)
       and ($4 or (l.ended_at_ms is null and l.ends_at_ms > $5))
       and ($6::bigint is null or (l.begun_at_ms, l.id) < ($6, $7::uuid))
     order by l.begun_at_ms desc, l.id desc limit $8`,
        [realm, ownerId ?? null, query.person ?? null, query.state === 'all', atMs, ...page],
      ),
    (row) => listedOf(row, atMs),
    ({ begunAtMs }) => begunAtMs,
  )
}

function listedOf(row: ListedRow, atMs: number): ListedLogin {
  const { personEmail, proxyName, endedAtMs, endReason } = row
  return {
    ...loginViewOf(row),
    ...{ personEmail, proxyName, endedAtMs, endReason },
    state: endedAtMs === null && row.endsAtMs > atMs ? 'live' : 'ended',
  }
}
