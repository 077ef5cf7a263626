import type { z } from 'zod'
import type { AccessRequest, requestsQuery } from '../api/request.ts'
import { nowMs, type Control } from '../control.ts'
import { readPage } from '../read-page.ts'
import { notFound } from '../refusals.ts'
import type { KeptRequest } from './access-request.ts'
import type { Asker } from './ask.ts'
import { isVisibleTo, requestColumns, viewOf } from './request-row.ts'

type Scope = Pick<Control, 'realm' | 'state' | 'clock'>

/** Who looks. `seesAll`: admins and auditors. */
export interface Viewer extends Asker {
  readonly seesAll: boolean
}

const isDecider = `person_id <> $2 and ($3 = any(approver_people) or approver_groups && $4::text[])`
const hasDecided = `decisions @> jsonb_build_array(jsonb_build_object('personId', $2::text))`
/** Whose yes lapsed may say it again. */
const hasSaid = `exists (select from jsonb_array_elements(decisions) as said
  where said ->> 'personId' = $2::text and not said ? 'lapsed')`
const conditionOf = {
  asked: 'and person_id = $2',
  decide: `and ${isDecider} and state = 'pending' and answer_by_ms > $5 and not ${hasSaid}`,
  all: `and ($6 or person_id = $2 or ${isDecider} or ${hasDecided})`,
} as const
const conditionOfState = {
  pending: `and state = 'pending' and answer_by_ms > $5`,
  expired: `and (state = 'expired' or state = 'pending' and answer_by_ms <= $5)`,
  approved: `and state = 'approved'`,
  denied: `and state = 'denied'`,
  withdrawn: `and state = 'withdrawn'`,
  all: '',
} as const

/** Newest first: those that the viewer may see. */
export async function listRequests(
  { realm, state, clock }: Scope,
  viewer: Viewer,
  query: z.output<typeof requestsQuery>,
): Promise<{ items: AccessRequest[]; next: string | null }> {
  const atMs = nowMs(clock)
  return readPage(
    query,
    (page) =>
      state.query<KeptRequest>(
        `select ${requestColumns} from requests
     where realm = $1
       and $2::uuid is not null and $3::text is not null and $4::text[] is not null
       and $5::bigint is not null and $6::boolean is not null
       ${conditionOf[query.mine]}
       ${conditionOfState[query.state]}
       and ($7::bigint is null or (made_at_ms, id) < ($7, $8::uuid))
     order by made_at_ms desc, id desc limit $9`,
        [realm, viewer.id, viewer.email, [...viewer.groups], atMs, viewer.seesAll, ...page],
      ),
    (row) => viewOf(row, viewer, atMs),
    ({ madeAtMs }) => madeAtMs,
  )
}

/** Rejects with `not-found`, also for one that is not the viewer's to see. */
export async function getRequest(
  { realm, state, clock }: Scope,
  viewer: Viewer,
  requestId: string,
): Promise<AccessRequest> {
  const [row] = await state.query<KeptRequest>(
    `select ${requestColumns} from requests where realm = $1 and id = $2`,
    [realm, requestId],
  )
  if (row === undefined || (!viewer.seesAll && !isVisibleTo(row, viewer))) {
    throw notFound('request')
  }
  return viewOf(row, viewer, nowMs(clock))
}
