import type { AccessRequest } from '../api/request.ts'
import { approvalsNeeded, approversOf } from '../flows/choose-flow.ts'
import { notFound } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { approversSoFar, stateAt, type KeptRequest } from './access-request.ts'
import type { Asker } from './ask.ts'
import { mayDecide } from './decide.ts'

export const requestColumns = `
  id, kind, person_id as "personId", person_email as "personEmail", resource, level,
  for_ms as "forMs", reason, state, flow, flows_version as "flowsVersion", decisions,
  made_at_ms as "madeAtMs", answer_by_ms as "answerByMs", decided_at_ms as "decidedAtMs",
  grant_id as "grantId"`

/** As this person sees it. */
export function viewOf(request: KeptRequest, viewer: Asker, atMs: number): AccessRequest {
  const { flow, ...rest } = request
  const state = stateAt(request, atMs)
  const { people, groups } = approversOf(flow)
  return {
    ...rest,
    state,
    decidedAtMs: state === 'expired' ? request.answerByMs : request.decidedAtMs,
    flow: flow.name,
    approvalsNeeded: approvalsNeeded(flow),
    approvers: { people: [...people], groups: [...groups] },
    decisions: [...request.decisions],
    mine: roleOf(request, state, viewer),
  }
}

function roleOf(
  request: KeptRequest,
  state: AccessRequest['state'],
  viewer: Asker,
): AccessRequest['mine'] {
  if (request.personId === viewer.id) return 'asked'
  const waits = state === 'pending' && !approversSoFar(request).has(viewer.id)
  return waits && mayDecide(request, viewer) ? 'decide' : 'watch'
}

/** Whether it is theirs, theirs to decide, or was decided by them. Everybody else's do not exist for them. */
export function isVisibleTo(request: KeptRequest, viewer: Asker): boolean {
  return (
    request.personId === viewer.id ||
    mayDecide(request, viewer) ||
    request.decisions.some(({ personId }) => personId === viewer.id)
  )
}

/** Holds the row to the commit. Rejects with `not-found`. */
export async function lockRequest(sql: Sql, realm: string, id: string): Promise<KeptRequest> {
  const [row] = await sql.query<KeptRequest>(
    `select ${requestColumns} from requests where realm = $1 and id = $2 for update`,
    [realm, id],
  )
  if (row === undefined) throw notFound('request')
  return row
}

export async function insertRequest(sql: Sql, realm: string, request: KeptRequest): Promise<void> {
  const { people, groups } = approversOf(request.flow)
  await sql.query(
    `insert into requests (realm, id, kind, person_id, person_email, resource, level, for_ms,
       reason, state, flow, flows_version, approver_people, approver_groups, decisions, made_at_ms,
       answer_by_ms, decided_at_ms, grant_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12, $13::text[], $14::text[],
       $15::jsonb, $16, $17, $18, $19)`,
    [
      realm,
      request.id,
      request.kind,
      request.personId,
      request.personEmail,
      request.resource,
      request.level,
      request.forMs,
      request.reason,
      request.state,
      JSON.stringify(request.flow),
      request.flowsVersion,
      people,
      groups,
      JSON.stringify(request.decisions),
      request.madeAtMs,
      request.answerByMs,
      request.decidedAtMs,
      request.grantId,
    ],
  )
}

/** Writes what a decision changed; the row is held. */
export async function updateRequest(sql: Sql, realm: string, request: KeptRequest): Promise<void> {
  await sql.query(
    `update requests set state = $3, decisions = $4::jsonb, decided_at_ms = $5, grant_id = $6
     where realm = $1 and id = $2`,
    [
      realm,
      request.id,
      request.state,
      JSON.stringify(request.decisions),
      request.decidedAtMs,
      request.grantId,
    ],
  )
}
