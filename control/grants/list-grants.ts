import type { z } from 'zod'
import type { Grant, grantsQuery } from '../api/shapes.ts'
import { nowMs, type Control } from '../control.ts'
import { readPage } from '../read-page.ts'
import { notFound } from '../refusals.ts'
import { grantColumns, viewOf, type GrantRow } from './grant-row.ts'

type Scope = Pick<Control, 'realm' | 'state' | 'clock'>

const conditionOfState = {
  live: 'and revoked_at_ms is null and expires_at_ms > $5',
  ended: 'and revoked_at_ms is null and expires_at_ms <= $5',
  revoked: 'and revoked_at_ms is not null and $5::bigint is not null',
  all: 'and $5::bigint is not null',
} as const

/** Newest first. `ownerId`: only this person's; undefined: everybody's. */
export async function listGrants(
  { realm, state, clock }: Scope,
  ownerId: string | undefined,
  query: z.output<typeof grantsQuery>,
): Promise<{ items: Grant[]; next: string | null }> {
  const atMs = nowMs(clock)
  return readPage(
    query,
    (page) =>
      state.query<GrantRow>(
        `select ${grantColumns} from grants
     where realm = $1
       and ($2::uuid is null or person_id = $2)
       and ($3::text is null or person_email = $3)
       and ($4::text is null or resource = $4)
       ${conditionOfState[query.state]}
       and ($6::bigint is null or (made_at_ms, id) < ($6, $7::uuid))
     order by made_at_ms desc, id desc limit $8`,
        [realm, ownerId ?? null, query.person ?? null, query.resource ?? null, atMs, ...page],
      ),
    (row) => viewOf(row, atMs),
    ({ madeAtMs }) => madeAtMs,
  )
}

/** Rejects with `not-found`, also for another person's when `ownerId` is given. */
export async function getGrant(
  { realm, state, clock }: Scope,
  ownerId: string | undefined,
  grantId: string,
): Promise<Grant> {
  const [row] = await state.query<GrantRow>(
    `select ${grantColumns} from grants
     where realm = $1 and id = $2 and ($3::uuid is null or person_id = $3)`,
    [realm, grantId, ownerId ?? null],
  )
  if (row === undefined) throw notFound('grant')
  return viewOf(row, nowMs(clock))
}
