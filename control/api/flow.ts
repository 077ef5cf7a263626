/** Access flows as people write them in YAML: who may ask for what, for how long, and who must say yes. */
import { z } from 'zod'
import { parseDuration } from './duration.ts'
import { email, hasNoZero, level, peopleGroup, resourceName } from './names.ts'

/** As people write it: `45s`, `8h`, `1h30m`. Between a second and thirty days, like a grant. */
const duration = z
  .string()
  .regex(/^(\d{1,9}[smhd]){1,4}$/, 'must look like 45s, 15m, 8h or 1h30m')
  .refine((text) => isWithin(text), 'must be between 1s and 30d')

function isWithin(text: string): boolean {
  try {
    const ms = parseDuration(text)
    return ms >= 1_000 && ms <= 30 * 86_400_000
  } catch {
    return false
  }
}

function isLonger(text: string, than: string): boolean {
  // What cannot be read is said elsewhere.
  return isWithin(text) && isWithin(than) && parseDuration(text) > parseDuration(than)
}

/** People who are meant: any of these. */
const people = z.strictObject({
  people: z.array(email).max(1_000).default([]),
  groups: z.array(peopleGroup).max(200).default([]),
})

export const flow = z.strictObject({
  name: resourceName,
  description: z.string().max(1_000).refine(hasNoZero, 'must not hold a zero byte').optional(),
  /** Who may ask. */
  who: people.refine(
    (one) => one.people.length + one.groups.length > 0,
    'must name people or groups',
  ),
  /** A resource is meant if every part that is given fits: its name is listed, its tags are these. */
  resources: z
    .strictObject({
      names: z.array(resourceName).min(1).max(1_000).optional(),
      tags: z
        .record(z.string().min(1).max(64), z.string().max(256))
        .refine((tags) => Object.keys(tags).length > 0, 'must name a tag')
        .optional(),
    })
    .refine(
      (one) => one.names !== undefined || one.tags !== undefined,
      'must name resources or tags',
    ),
  levels: z.array(level).min(1).max(4),
  duration: z
    .strictObject({
      longest: duration,
      /** What a request without `--for` asks for. Default: the longest. */
      default: duration.optional(),
    })
    .refine(
      (one) => one.default === undefined || !isLonger(one.default, one.longest),
      'the default is longer than the longest',
    ),
  approval: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('automatic') }),
    z.strictObject({
      kind: z.literal('people'),
      /** How many different people have to say yes. */
      count: z.int().min(1).max(10),
      from: people.refine(
        (one) => one.people.length + one.groups.length > 0,
        'must name people or groups',
      ),
    }),
  ]),
  /** Whether a request must say why. */
  reasonRequired: z.boolean().default(true),
  /** A request that nobody answers ends after this. */
  unansweredAfter: duration.default('1h'),
})
export type Flow = z.infer<typeof flow>

/** The file that `sally flows apply` takes; it replaces all flows. Of the flows that fit and give the time that is asked for, the one with the fewest approvals decides, then the first. */
export const flowsFile = z.strictObject({
  flows: z
    .array(flow)
    .max(1_000)
    .refine(
      (flows) => new Set(flows.map(({ name }) => name)).size === flows.length,
      'two flows have the same name',
    ),
})
export type FlowsFile = z.infer<typeof flowsFile>
