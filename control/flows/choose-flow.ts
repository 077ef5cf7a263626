/** Which access flow decides: pure, so that what is shown, what is tested and what happens are the same. */
import { parseDuration } from '../api/duration.ts'
import type { Flow } from '../api/flow.ts'
import type { Level } from '../api/names.ts'

/** A person as flows know them. */
export interface Somebody {
  readonly email: string
  readonly groups: readonly string[]
}

/** A resource as flows know it. */
export interface Something {
  readonly name: string
  readonly tags: Readonly<Record<string, string>>
}

/** People and groups that a flow names. */
export interface Named {
  readonly people: readonly string[]
  readonly groups: readonly string[]
}

export function isAmong({ people, groups }: Named, { email, groups: mine }: Somebody): boolean {
  return people.includes(email) || groups.some((group) => mine.includes(group))
}

export function approvalsNeeded({ approval }: Flow): number {
  return approval.kind === 'automatic' ? 0 : approval.count
}

export function approversOf({ approval }: Flow): Named {
  return approval.kind === 'automatic' ? { people: [], groups: [] } : approval.from
}

export function longestMs({ duration }: Flow): number {
  return parseDuration(duration.longest)
}

/** What a request that names no time asks for. */
export function defaultMs({ duration }: Flow): number {
  return parseDuration(duration.default ?? duration.longest)
}

export function isAbout({ resources: { names, tags } }: Flow, resource: Something): boolean {
  // Neither named: nothing is meant, rather than everything.
  if (names === undefined && tags === undefined) return false
  if (names !== undefined && !names.includes(resource.name)) return false
  return Object.entries(tags ?? {}).every(
    ([tag, value]) => Object.hasOwn(resource.tags, tag) && resource.tags[tag] === value,
  )
}

/**
 * The flows that fit, in the order in which they decide: those that need the fewest approvals first; of these, the first in the
 * file. One that gives no more time than another before it decides nothing and is left out.
 */
export function fittingFlows(
  flows: readonly Flow[],
  person: Somebody,
  resource: Something,
  level: Level,
): Flow[] {
  const fitting = flows
    .filter((flow) => flow.levels.includes(level) && isAmong(flow.who, person))
    .filter((flow) => isAbout(flow, resource))
    .toSorted((one, other) => approvalsNeeded(one) - approvalsNeeded(other))
  let mostMs = 0
  return fitting.filter((flow) => {
    const isLonger = longestMs(flow) > mostMs
    mostMs = Math.max(mostMs, longestMs(flow))
    return isLonger
  })
}

/** Of flows in the order in which they decide, the first that gives this much time; if none does, the one that gives the most. */
export function flowForTime(fitting: readonly Flow[], forMs: number | undefined): Flow | undefined {
  if (forMs === undefined) return fitting[0]
  return fitting.find((flow) => longestMs(flow) >= forMs) ?? fitting.at(-1)
}
