/** What asking for access and asking for more time share. */
import type { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { requestMade } from '../api/request.ts'
import type { Resource } from '../api/resource.ts'
import { appendControlAction } from '../chain/append-action.ts'
import type { Actor, Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { viewOf as viewOfGrant } from '../grants/grant-row.ts'
import { conflict, notAllowed } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import type { KeptRequest } from './access-request.ts'
import { fulfil, type HeldPerson } from './fulfil.ts'
import { insertRequest, viewOf } from './request-row.ts'

/** Requests of one person that wait at a time. */
const pendingMax = 100

/** Grants of one person that they asked for and that live at a time. */
const liveMax = 200

/** What one person asks for in an hour, whatever became of it: each ask is a row, and an entry of the chain, for good. */
export const askedInHourMax = 1_000
const hourMs = 3_600_000

/** Between the look at the certificate and now, they may have been revoked. */
export function requireActive(person: HeldPerson | undefined): HeldPerson {
  if (person?.active === true) return person
  throw notAllowed('you are revoked, and ask for nothing', 'ask an admin')
}

/** Whoever asks twice would be granted twice, and nobody asks without end. The person is held, so two at once come one after the other. */
export async function requireRoom(sql: Sql, realm: string, request: KeptRequest): Promise<void> {
  const waiting = await sql.query<{ id: string; same: boolean }>(
    `select id, kind = $3 and resource = $4 and level = $5
       and grant_id is not distinct from $6::uuid as same
     from requests where realm = $1 and person_id = $2 and state = 'pending' and answer_by_ms > $7
     order by made_at_ms`,
    [
      realm,
      request.personId,
      request.kind,
      request.resource,
      request.level,
      request.grantId,
      request.madeAtMs,
    ],
  )
  const same = waiting.find((one) => one.same)
  if (same !== undefined && request.state === 'pending') {
    throw conflict(
      `you have asked for this already, and it waits: request ${same.id}`,
      `wait for it, or take it back first: sally withdraw ${same.id}`,
    )
  }
  if (waiting.length >= pendingMax) {
    throw conflict(
      `${waiting.length} requests of yours wait already`,
      'take some back: sally requests, sally withdraw REQUEST',
    )
  }
  const [asked] = await sql.query<{ count: number }>(
    'select count(*) as count from requests where realm = $1 and person_id = $2 and made_at_ms > $3',
    [realm, request.personId, request.madeAtMs - hourMs],
  )
  if (asked!.count >= askedInHourMax) {
    throw new SallyportError('rate-limited', `${asked!.count} requests of one person in an hour`, {
      clientMessage: `you asked ${asked!.count} times within an hour`,
      hint: 'wait, and look for the script that asks: sally requests --mine, sally token list',
    })
  }
  const [live] = await sql.query<{ count: number }>(
    `select count(*) as count from grants where realm = $1 and person_id = $2
       and request_id is not null and revoked_at_ms is null and expires_at_ms > $3`,
    [realm, request.personId, request.madeAtMs],
  )
  if (live!.count >= liveMax) {
    throw conflict(
      `${live!.count} grants of yours are live already`,
      'give some back: sally grants --mine, sally give-back GRANT',
    )
  }
}

/** Writes a new request, and its grant where it is approved already. Rows are held; chain and feed come last. */
export async function enter(
  sql: Sql,
  control: Control,
  actor: Actor,
  asked: KeptRequest,
  parts: { person: HeldPerson; resource: Resource | undefined; atMs: number },
): Promise<z.output<typeof requestMade>> {
  const { realm, chain } = control
  const done =
    asked.state === 'approved' ? await fulfil(sql, control, actor, asked, parts) : undefined
  const request = done?.request ?? asked
  await insertRequest(sql, realm, request)
  await appendControlAction(sql, chain, actor, {
    action: 'request.made',
    target: request.id,
    details: {
      kind: request.kind,
      person: request.personEmail,
      personId: request.personId,
      resource: request.resource,
      level: request.level,
      forMs: request.forMs,
      reason: request.reason,
      flow: request.flow.name,
      flowsVersion: request.flowsVersion,
      state: request.state,
      answerByMs: request.answerByMs,
      grantId: request.grantId,
    },
  })
  if (done !== undefined) {
    await appendControlAction(sql, chain, actor, done.action)
    await appendFeed(sql, realm, [done.entry], parts.atMs)
  }
  return {
    request: viewOf(request, parts.person, parts.atMs),
    grant: done === undefined ? null : viewOfGrant(done.grant, parts.atMs),
  }
}
