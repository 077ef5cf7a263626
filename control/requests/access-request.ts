/** A request as control keeps it, and what follows from it alone. */
import type { z } from 'zod'
import type { Flow } from '../api/flow.ts'
import { level as levels, type Level } from '../api/names.ts'
import type { AccessRequest, decision, requestStates } from '../api/request.ts'

export type Decision = z.infer<typeof decision>
export type RequestState = (typeof requestStates)[number]

/** One row of `requests`. Values are replaced, never changed in place. */
export interface KeptRequest {
  readonly id: string
  readonly kind: AccessRequest['kind']
  readonly personId: string
  readonly personEmail: string
  readonly resource: string
  readonly level: Level
  readonly forMs: number
  readonly reason: string
  /** As it is kept; `stateAt` says what it is by now. */
  readonly state: RequestState
  readonly flow: Flow
  readonly flowsVersion: number
  readonly decisions: readonly Decision[]
  readonly madeAtMs: number
  readonly answerByMs: number
  readonly decidedAtMs: number | null
  readonly grantId: string | null
}

/** A request that nobody answered in time is expired from that moment on, before anybody has written so. */
export function stateAt({ state, answerByMs }: KeptRequest, atMs: number): RequestState {
  return state === 'pending' && answerByMs <= atMs ? 'expired' : state
}

/** Every yes that counts: one that lapsed is kept, and counts no more. */
function yeses({ decisions }: KeptRequest): readonly Decision[] {
  return decisions.filter(({ verdict, lapsed }) => verdict === 'approve' && lapsed !== true)
}

/** The people who said yes, each once. */
export function approversSoFar(request: KeptRequest): ReadonlySet<string> {
  return new Set(yeses(request).map(({ personId }) => personId))
}

export function isHigher(one: Level, than: Level): boolean {
  return levels.options.indexOf(one) > levels.options.indexOf(than)
}

/** The lowest level and the shortest time that anybody said, whoever asked included. */
export function agreedTerms(request: KeptRequest): { level: Level; forMs: number } {
  return yeses(request).reduce(
    (agreed, { level, forMs }) => ({
      level: level !== null && isHigher(agreed.level, level) ? level : agreed.level,
      forMs: Math.min(agreed.forMs, forMs ?? agreed.forMs),
    }),
    { level: request.level, forMs: request.forMs },
  )
}
