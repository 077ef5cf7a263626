/** What a yes, a no or a change of mind makes of a request: pure. The caller holds its row, and has looked at people and flows. */
import type { z } from 'zod'
import { formatDuration } from '../api/duration.ts'
import type { requestApprove } from '../api/request.ts'
import { approvalsNeeded, approversOf, isAmong, longestMs } from '../flows/choose-flow.ts'
import { conflict, invalid, notAllowed } from '../refusals.ts'
import {
  approversSoFar,
  isHigher,
  stateAt,
  type Decision,
  type KeptRequest,
} from './access-request.ts'
import type { Asker } from './ask.ts'

/** Who decides or decided, as their row is now. */
export interface Approver extends Asker {
  readonly active: boolean
}
export interface Decider extends Approver {
  readonly remoteAddress: string
}

/**
 * Counts a yes. Unchanged (the same object) when this person has said it already. It is approved once as many different people as
 * the flow wants have said yes, who could all say so now: `earlier` are the rows of those who said it before, and the yes of one who
 * was revoked or is among the approvers no longer lapses. Throws `not-allowed`, `conflict` or `request-invalid`.
 */
export function approve(
  request: KeptRequest,
  decider: Decider,
  terms: z.output<typeof requestApprove>,
  atMs: number,
  earlier: ReadonlyMap<string, Approver>,
): KeptRequest {
  requireDecider(request, decider, 'approves')
  const saidSo = approversSoFar(request).has(decider.id)
  if (saidSo && (request.state === 'approved' || stateAt(request, atMs) === 'pending')) {
    return request
  }
  requirePending(request, atMs)
  if (terms.level !== undefined && request.kind === 'extension') {
    throw invalid('an extension keeps the level of its grant', 'leave --level out')
  }
  if (terms.level !== undefined && isHigher(terms.level, request.level)) {
    throw invalid(
      `${request.level} was asked for, and ${terms.level} is more`,
      'allow less, or deny it',
    )
  }
  if (terms.forMs !== undefined && terms.forMs > request.forMs) {
    throw invalid(
      `${formatDuration(request.forMs)} was asked for, and that is more`,
      'allow less time, or deny it',
    )
  }
  const decided = add(withoutLapsed(request, earlier), decider, atMs, {
    verdict: 'approve',
    level: terms.level ?? null,
    forMs: terms.forMs ?? null,
    comment: terms.comment.trim(),
  })
  return approversSoFar(decided).size < approvalsNeeded(request.flow)
    ? decided
    : { ...decided, state: 'approved', decidedAtMs: atMs }
}

/** One no is enough. Unchanged when it was this person's already. Throws `not-allowed` or `conflict`. */
export function deny(
  request: KeptRequest,
  decider: Decider,
  comment: string,
  atMs: number,
): KeptRequest {
  requireDecider(request, decider, 'denies')
  const last = request.decisions.at(-1)
  if (request.state === 'denied' && last?.personId === decider.id) return request
  requirePending(request, atMs)
  const decided = add(request, decider, atMs, {
    verdict: 'deny',
    level: null,
    forMs: null,
    comment: comment.trim(),
  })
  return { ...decided, state: 'denied', decidedAtMs: atMs }
}

/** Only whoever asked. Unchanged when it is withdrawn already. Throws `not-allowed` or `conflict`. */
export function withdraw(request: KeptRequest, personId: string, atMs: number): KeptRequest {
  if (request.personId !== personId) {
    throw notAllowed(
      'only the person who asked withdraws a request',
      'to refuse it: sally deny REQUEST --comment …',
    )
  }
  if (request.state === 'withdrawn') return request
  requirePending(request, atMs)
  return { ...request, state: 'withdrawn', decidedAtMs: atMs }
}

/** Nobody answered. Undefined while there is time left, or when it is decided. */
export function expire(request: KeptRequest, atMs: number): KeptRequest | undefined {
  if (request.state !== 'pending' || stateAt(request, atMs) !== 'expired') return undefined
  return { ...request, state: 'expired', decidedAtMs: request.answerByMs }
}

/** Whether this person may decide it, were it pending: by the flow as it was asked, and by their groups as they are now. */
export function mayDecide(request: KeptRequest, person: Asker): boolean {
  return request.personId !== person.id && isAmong(approversOf(request.flow), person)
}

/**
 * Where an extension moves the end of its grant to: never further than the flow's longest from now, and never back. Throws
 * `conflict` if there is nothing to move.
 */
export function extendedEnd(
  request: KeptRequest,
  expiresAtMs: number,
  byMs: number,
  atMs: number,
): number {
  const end = Math.min(expiresAtMs + byMs, atMs + longestMs(request.flow))
  if (end > expiresAtMs) return end
  throw conflict(
    'this grant lasts as long as its flow allows already',
    'sally grants shows its end',
  )
}

function withoutLapsed(request: KeptRequest, people: ReadonlyMap<string, Approver>): KeptRequest {
  const decisions = request.decisions.map((decision): Decision => {
    const giver = people.get(decision.personId)
    const stands = giver?.active === true && mayDecide(request, giver)
    return decision.verdict !== 'approve' || stands ? decision : { ...decision, lapsed: true }
  })
  return { ...request, decisions }
}

function requireDecider(request: KeptRequest, decider: Decider, verb: 'approves' | 'denies'): void {
  if (request.personId === decider.id) {
    throw notAllowed(
      `nobody ${verb} their own request`,
      verb === 'approves'
        ? `somebody else has to: sally why ${request.resource} says who`
        : 'to take it back: sally withdraw REQUEST',
    )
  }
  if (!decider.active) throw notAllowed('you are revoked, and decide nothing', 'ask an admin')
  if (!mayDecide(request, decider)) {
    const { people, groups } = approversOf(request.flow)
    throw notAllowed(
      `flow ${request.flow.name} does not name you among those who decide`,
      `it names ${[...groups, ...people].join(', ') || 'nobody'}`,
    )
  }
}

function requirePending(request: KeptRequest, atMs: number): void {
  const state = stateAt(request, atMs)
  if (state === 'pending') return
  throw conflict(
    state === 'expired'
      ? 'nobody answered this request in time; it has expired'
      : `this request is ${state} already`,
    'sally requests shows those that wait',
  )
}

function add(
  request: KeptRequest,
  { id, email, remoteAddress }: Decider,
  atMs: number,
  said: Pick<Decision, 'verdict' | 'level' | 'forMs' | 'comment'>,
): KeptRequest {
  const decision: Decision = { personId: id, personEmail: email, ...said, atMs, remoteAddress }
  return { ...request, decisions: [...request.decisions, decision] }
}
