import type { z } from 'zod'
import type { AccessRequest, requestApprove } from '../api/request.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { notAllowed, notFound } from '../refusals.ts'
import type { ControlAction } from '../server/handlers.ts'
import type { Sql } from '../store/store.ts'
import { approversSoFar, type KeptRequest } from './access-request.ts'
import { approve, deny, type Decider } from './decide.ts'
import { fulfil, holdPeople, holdResource, type HeldPerson } from './fulfil.ts'
import { isVisibleTo, lockRequest, updateRequest, viewOf } from './request-row.ts'
import { approvalsNeeded } from '../flows/choose-flow.ts'

/** Who decides. `seesAll`: admins and auditors learn why they may not; for others, others' requests do not exist. */
export interface DecidingActor extends Actor {
  readonly seesAll: boolean
  /** The sign-in that the actor is here by. Absent: nothing to look at again (who takes a request back). */
  readonly loginId?: string
}

interface Held {
  readonly request: KeptRequest
  readonly decider: Decider
  readonly person: HeldPerson
  /** Those who decided before, as they are now. */
  readonly earlier: ReadonlyMap<string, HeldPerson>
}

/**
 * Says yes. With the last yes the grant is made, and its clock starts. Rejects with `not-found`, `not-allowed`, `conflict` or
 * `request-invalid`; then nothing is changed.
 */
export function approveRequest(
  control: Control,
  actor: DecidingActor,
  id: string,
  terms: z.output<typeof requestApprove>,
): Promise<AccessRequest> {
  const { realm, chain } = control
  return control.state.transaction(async (sql) => {
    const { request: before, decider, person, earlier } = await hold(sql, control, actor, id)
    const resource = await holdResource(sql, realm, before.resource)
    const atMs = nowMs(control.clock)
    const after = approve(before, decider, terms, atMs, earlier)
    if (after === before) return viewOf(before, decider, atMs)
    const done =
      after.state === 'approved'
        ? await fulfil(sql, control, actor, after, { person, resource, atMs })
        : undefined
    const request = done?.request ?? after
    await updateRequest(sql, realm, request)
    await appendControlAction(sql, chain, actor, decided('request.approved', request))
    if (done !== undefined) {
      await appendControlAction(sql, chain, actor, done.action)
      await appendFeed(sql, realm, [done.entry], atMs)
    }
    return viewOf(request, decider, atMs)
  })
}

/** Says no; that is the end of it. Rejects with `not-found`, `not-allowed` or `conflict`. */
export function denyRequest(
  control: Control,
  actor: DecidingActor,
  id: string,
  comment: string,
): Promise<AccessRequest> {
  const { realm, chain } = control
  return control.state.transaction(async (sql) => {
    const { request: before, decider } = await hold(sql, control, actor, id)
    const atMs = nowMs(control.clock)
    const request = deny(before, decider, comment, atMs)
    if (request !== before) {
      await updateRequest(sql, realm, request)
      await appendControlAction(sql, chain, actor, decided('request.denied', request))
    }
    return viewOf(request, decider, atMs)
  })
}

/** People first, in one order, then the sign-in, then the request: wherever several of these are held. */
async function hold(sql: Sql, control: Control, actor: DecidingActor, id: string): Promise<Held> {
  const { realm } = control
  const [found] = await sql.query<Pick<KeptRequest, 'personId' | 'decisions'>>(
    'select person_id as "personId", decisions from requests where realm = $1 and id = $2',
    [realm, id],
  )
  if (found === undefined) throw notFound('request')
  const deciders = found.decisions.map(({ personId }) => personId)
  const people = await holdPeople(sql, realm, [actor.id, found.personId, ...deciders])
  await requireSignedIn(sql, control, actor)
  const request = await lockRequest(sql, realm, id)
  // Who decided since then. Nobody who holds a person against this one ever waits for a request.
  const late = request.decisions.map(({ personId }) => personId).filter((one) => !people.has(one))
  const earlier =
    late.length === 0 ? people : new Map([...people, ...(await holdPeople(sql, realm, late))])
  const person = people.get(actor.id)
  if (person === undefined) throw notFound('request')
  if (!actor.seesAll && !isVisibleTo(request, person)) throw notFound('request')
  const decider = { ...person, remoteAddress: actor.remoteAddress }
  return { request, decider, person: people.get(request.personId)!, earlier }
}

/** Held to the commit: a sign-out comes before or after. Between the look at the certificate and now, it may have come. */
async function requireSignedIn(
  sql: Sql,
  { realm, clock }: Control,
  { loginId }: DecidingActor,
): Promise<void> {
  if (loginId === undefined) return
  const [login] = await sql.query<{ endedAtMs: number | null; endsAtMs: number }>(
    `select ended_at_ms as "endedAtMs", ends_at_ms as "endsAtMs" from logins
     where realm = $1 and id = $2 for share`,
    [realm, loginId],
  )
  if (login !== undefined && login.endedAtMs === null && login.endsAtMs > nowMs(clock)) return
  throw notAllowed('your sign-in has ended', 'sign in again: sally login')
}

function decided(action: string, request: KeptRequest): ControlAction {
  const decision = request.decisions.at(-1)!
  return {
    action,
    target: request.id,
    details: {
      kind: request.kind,
      person: request.personEmail,
      personId: request.personId,
      resource: request.resource,
      asked: { level: request.level, forMs: request.forMs },
      allowed: { level: decision.level, forMs: decision.forMs },
      comment: decision.comment,
      flow: request.flow.name,
      flowsVersion: request.flowsVersion,
      approvals: approversSoFar(request).size,
      lapsed: request.decisions
        .filter(({ lapsed }) => lapsed)
        .map(({ personEmail }) => personEmail),
      approvalsNeeded: approvalsNeeded(request.flow),
      state: request.state,
      grantId: request.grantId,
    },
  }
}
