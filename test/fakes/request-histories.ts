/** Random lives of requests: what people, admins and time do to them. For the core and for the store alike. */
import * as fc from 'fast-check'
import { flow, type Flow } from '../../control/api/flow.ts'
import type { Level } from '../../control/api/names.ts'

export const minuteMs = 60_000
export const levels = ['read', 'write', 'delete', 'admin'] as const
export const who = ['ann', 'bob', 'cid', 'dee', 'eve'] as const
export const what = ['db1', 'db2'] as const
export type Who = (typeof who)[number]
export type What = (typeof what)[number]

/** Requests and grants are named by their place in the order they came, or from the end; see `placeOf`. */
export type Step =
  | { do: 'ask'; by: Who; on: What; level: Level; forMs: number | undefined; reason: string }
  | { do: 'approve'; by: Who; request: number; level: Level | undefined; forMs: number | undefined }
  | { do: 'deny'; by: Who; request: number }
  | { do: 'withdraw'; by: Who; request: number }
  | { do: 'extend'; by: Who | 'owner'; grant: number; byMs: number }
  | { do: 'give-back'; by: Who | 'owner'; grant: number }
  | { do: 'revoke-grant'; grant: number }
  | { do: 'revoke-person' | 'restore-person' | 'sign-out' | 'sign-in'; whom: Who }
  | { do: 'join'; whom: Who; groups: string[] }
  | { do: 'flows'; set: number }
  | { do: 'offer'; on: What; levels: Level[] }
  | { do: 'wait'; ms: number }

export function placeOf(place: number, length: number): number {
  if (length === 0) return -1
  return place < 0 ? Math.max(0, length + place) : place % length
}

export interface History {
  readonly groups: readonly string[][]
  readonly steps: readonly Step[]
}

const groups = fc.subarray(['engineers', 'leads', 'security'], { minLength: 1 })
const by = fc.constantFrom(...who)
const on = fc.constantFrom(...what)
const level = fc.constantFrom<Level>(...levels)
const time = fc.constantFrom(...[1, 5, 20, 30, 45, 60, 90].map((minutes) => minutes * minuteMs))
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined, freq: 2 })
/** Mostly one of the latest: `-1` is the last. */
const place = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(-1, -1, -2) }, fc.nat(20))
const named = <const D extends string>(name: D) => fc.constant<D>(name)
const owner = fc.oneof(by, fc.constant('owner' as const), fc.constant('owner' as const))

const one = (weight: number, arbitrary: fc.Arbitrary<Step>) => ({ weight, arbitrary })
const step: fc.Arbitrary<Step> = fc.oneof(
  one(
    12,
    fc.record({
      ...{ do: named('ask'), by, on, level, forMs: maybe(time) },
      reason: fc.constantFrom('x', 'y', 'z', ''),
    }),
  ),
  one(
    16,
    fc.record({
      ...{ do: named('approve'), by, request: place },
      ...{ level: maybe(level), forMs: maybe(time) },
    }),
  ),
  one(2, fc.record({ do: named('deny'), by, request: place })),
  one(2, fc.record({ do: named('withdraw'), by, request: place })),
  one(8, fc.record({ do: named('extend'), by: owner, grant: place, byMs: time })),
  one(2, fc.record({ do: named('give-back'), by: owner, grant: place })),
  one(1, fc.record({ do: named('revoke-grant'), grant: place })),
  one(1, fc.record({ do: named('revoke-person'), whom: by })),
  one(2, fc.record({ do: named('restore-person'), whom: by })),
  one(1, fc.record({ do: named('sign-out'), whom: by })),
  one(2, fc.record({ do: named('sign-in'), whom: by })),
  one(1, fc.record({ do: named('join'), whom: by, groups })),
  one(1, fc.record({ do: named('flows'), set: fc.nat(2) })),
  one(1, fc.record({ do: named('offer'), on, levels: fc.subarray([...levels], { minLength: 2 }) })),
  one(4, fc.record({ do: named('wait'), ms: time })),
)

export const history = (stepsMax: number): fc.Arbitrary<History> =>
  fc.record({
    groups: fc.array(groups, { minLength: who.length, maxLength: who.length }),
    steps: fc.array(step, { minLength: 5, maxLength: stepsMax, size: 'max' }),
  })

/** `name` tells apart what several histories put into one database. */
export const emailOf = (person: Who, name = ''): string => `${person}${name}@example.test`
export const resourceOf = (resource: What, name = ''): string => `${resource}${name}`

/** Three files of flows. The tag `kind` of a resource is its own name. */
export function flowSets(name = ''): Flow[][] {
  const [db1, db2] = what.map((one) => resourceOf(one, name))
  const leads = { groups: ['leads'] }
  const people = (count: number, from: object) => ({ kind: 'people', count, from })
  const make = (parts: object): Flow =>
    flow.parse({
      who: { groups: ['engineers'] },
      resources: { names: [db1, db2] },
      duration: { longest: '1h', default: '30m' },
      ...parts,
    })
  const reading = make({
    name: 'reading',
    levels: ['read'],
    approval: { kind: 'automatic' },
    reasonRequired: false,
  })
  const writing = make({
    name: 'writing',
    levels: ['write'],
    approval: people(1, leads),
    unansweredAfter: '40m',
  })
  const deleting = make({
    name: 'deleting',
    levels: ['delete', 'admin'],
    approval: people(2, { groups: ['leads', 'security'], people: [emailOf('eve', name)] }),
    duration: { longest: '45m' },
  })
  const security = make({
    name: 'security',
    who: { groups: ['security'], people: [emailOf('ann', name)] },
    resources: { tags: { kind: db1 } },
    levels: [...levels],
    approval: people(1, { people: [emailOf('dee', name), emailOf('bob', name)] }),
    duration: { longest: '90m', default: '5m' },
  })
  const leading = make({
    name: 'leading',
    who: leads,
    levels: ['read', 'write'],
    approval: { kind: 'automatic' },
    duration: { longest: '20m' },
  })
  return [
    [reading, writing, deleting],
    [security, deleting, writing, reading],
    [leading, { ...writing, levels: ['read', 'write'] }, deleting, security],
  ]
}
