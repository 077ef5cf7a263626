/** What asking makes of a person, a resource and the flows: pure. */
import type { z } from 'zod'
import { formatDuration, parseDuration } from '../api/duration.ts'
import type { Flow } from '../api/flow.ts'
import type { Level } from '../api/names.ts'
import type { extensionMake, requestMake } from '../api/request.ts'
import {
  approvalsNeeded,
  defaultMs,
  fittingFlows,
  flowForTime,
  longestMs,
  type Somebody,
  type Something,
} from '../flows/choose-flow.ts'
import { invalid, notAllowed, notFound } from '../refusals.ts'
import type { KeptRequest } from './access-request.ts'

export interface Flows {
  readonly version: number
  readonly flows: readonly Flow[]
}

export interface Asker extends Somebody {
  readonly id: string
}

export interface Offered extends Something {
  readonly levels: Readonly<Partial<Record<Level, unknown>>>
}

/** What an extension needs to know of its grant. */
export interface ExtendedGrant {
  readonly id: string
  readonly level: Level
  readonly expiresAtMs: number
}

/**
 * A request that waits, or that its flow has approved already. A resource that does not exist (undefined) and one for which no
 * flow fits are refused alike, with `not-found`; else `not-allowed` or `request-invalid`.
 */
export function askForAccess(
  { version, flows }: Flows,
  person: Asker,
  resource: Offered | undefined,
  ask: z.output<typeof requestMake>,
  { id, atMs }: { id: string; atMs: number },
): KeptRequest {
  const ways = resource === undefined ? [] : offeredWays(flows, person, resource)
  if (resource === undefined || ways.length === 0) {
    throw notFound('resource')
  }
  const fitting = ways.filter(({ level }) => level === ask.level).map((way) => way.flow)
  const flow = flowForTime(fitting, ask.forMs)
  if (flow === undefined) {
    throw notAllowed(
      `no access flow lets you ask for ${ask.level} of ${resource.name}`,
      `you could ask for ${[...new Set(ways.map(({ level }) => level))].join(', ')}: sally why ${resource.name}`,
    )
  }
  const forMs = ask.forMs ?? defaultMs(flow)
  requireWithin(flow, forMs)
  requireReason(flow, ask.reason)
  return keep(
    flow,
    version,
    person,
    { id, atMs },
    {
      kind: 'access',
      resource: resource.name,
      level: ask.level,
      forMs,
      reason: ask.reason.trim(),
      grantId: null,
    },
  )
}

/** A request to move the end of a live grant by so much. Throws `not-allowed` or `request-invalid`. */
export function askForExtension(
  { version, flows }: Flows,
  person: Asker,
  resource: Offered,
  grant: ExtendedGrant,
  ask: z.output<typeof extensionMake>,
  { id, atMs }: { id: string; atMs: number },
): KeptRequest {
  const aheadMs = grant.expiresAtMs - atMs + ask.byMs
  const flow = flowForTime(fittingFlows(flows, person, resource, grant.level), aheadMs)
  if (flow === undefined) {
    throw notAllowed(
      `no access flow lets you extend ${grant.level} of ${resource.name}`,
      'ask an admin to extend it: sally extend',
    )
  }
  const most = Math.floor(atMs + longestMs(flow) - grant.expiresAtMs)
  if (ask.byMs > most) {
    throw invalid(
      `flow ${flow.name} lets nobody have more than ${flow.duration.longest} ahead of them`,
      most < 1_000
        ? 'you have that already; ask again nearer to the end'
        : `ask for at most ${formatDuration(most)} more`,
    )
  }
  requireReason(flow, ask.reason)
  return keep(
    flow,
    version,
    person,
    { id, atMs },
    {
      kind: 'extension',
      resource: resource.name,
      level: grant.level,
      forMs: ask.byMs,
      reason: ask.reason.trim(),
      grantId: grant.id,
    },
  )
}

/**
 * Each level that the resource offers and a flow lets this person ask for, lowest first; of a level the flow that decides first, then
 * those that decide about more time.
 */
export function offeredWays(
  flows: readonly Flow[],
  person: Somebody,
  resource: Offered,
): { level: Level; flow: Flow }[] {
  return (['read', 'write', 'delete', 'admin'] as const).flatMap((level) => {
    if (resource.levels[level] === undefined) return []
    return fittingFlows(flows, person, resource, level).map((flow) => ({ level, flow }))
  })
}

function keep(
  flow: Flow,
  flowsVersion: number,
  person: Asker,
  { id, atMs }: { id: string; atMs: number },
  asked: Pick<KeptRequest, 'kind' | 'resource' | 'level' | 'forMs' | 'reason' | 'grantId'>,
): KeptRequest {
  const automatic = approvalsNeeded(flow) === 0
  return {
    ...asked,
    id,
    personId: person.id,
    personEmail: person.email,
    state: automatic ? 'approved' : 'pending',
    flow,
    flowsVersion,
    decisions: [],
    madeAtMs: atMs,
    answerByMs: atMs + parseDuration(flow.unansweredAfter),
    decidedAtMs: automatic ? atMs : null,
  }
}

function requireWithin(flow: Flow, forMs: number): void {
  if (forMs <= longestMs(flow)) return
  throw invalid(
    `flow ${flow.name} gives at most ${flow.duration.longest}, and you asked for ${formatDuration(forMs)}`,
    `ask for less: --for ${flow.duration.longest}`,
  )
}

function requireReason(flow: Flow, reason: string): void {
  if (!flow.reasonRequired || reason.trim() !== '') return
  throw invalid(
    `say why: the flow “${flow.name}” wants a reason`,
    'for example: --reason "ticket 7"',
  )
}
