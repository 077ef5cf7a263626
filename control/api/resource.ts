/** A resource as people write it in YAML, as control keeps it and as a proxy learns it. */
import { z } from 'zod'
import { groupName, hasNoZero, level, protocol, resourceName, retentionClass } from './names.ts'

/** Where a level's secret is: `<store>:<path>`, read by the proxy, never by control. */
export const secretReference = z
  .string()
  .max(512)
  .regex(/^[a-z][a-z0-9-]*:[\x21-\x7e]+$/, 'must look like sealed:orders-db/read or env:NAME')

export const upstreamTls = z.enum(['disable', 'require', 'verify-full'])

/** What happens to sessions of a resource while control cannot be reached (design, section 6). */
export const outagePolicy = z.enum(['keep', 'hold', 'cut'])

export const durability = z.enum(['written', 'synced'])

/** Text without control characters: some of it goes into packets that a zero byte takes apart. */
const line = (charactersMax: number) =>
  z
    .string()
    .max(charactersMax)
    .regex(/^\P{Cc}*$/u, 'must not hold control characters')

export const resourceLevel = z.strictObject({
  account: line(128).min(1),
  secret: secretReference,
  /** Default: `written` for read, `synced` for everything above. */
  durability: durability.optional(),
})

export const resource = z.strictObject({
  name: resourceName,
  protocol,
  address: z.strictObject({
    host: line(253).min(1),
    port: z.int().min(1).max(65_535),
  }),
  tls: z
    .strictObject({
      mode: upstreamTls.default('verify-full'),
      /** The name in the upstream's certificate. Default: address.host. */
      serverName: line(253).min(1).optional(),
    })
    .prefault({}),
  /** Which proxies serve it. */
  group: groupName.default('default'),
  levels: z
    .partialRecord(level, resourceLevel)
    .refine((levels) => Object.keys(levels).length > 0, 'must offer at least one level'),
  tags: z.record(line(64).min(1), line(256)).default({}),
  owner: line(254).optional(),
  description: z.string().max(1_000).refine(hasNoZero, 'must not hold a zero byte').optional(),
  outage: z
    .strictObject({
      policy: outagePolicy.default('keep'),
      /** How old the newest lease may be for a new session under `keep`. */
      maxMs: z.int().min(0).max(86_400_000).default(900_000),
      /** How long the feed may be lost before `hold` and `cut` act. */
      graceMs: z.int().min(1_000).max(600_000).default(5_000),
    })
    .prefault({}),
  /** Cuts a session without traffic. 0: never. */
  idleMs: z.int().min(0).max(86_400_000).default(0),
  /** Moments before the grant's end at which the person is warned, in milliseconds. */
  warnBeforeMs: z.array(z.int().min(1_000)).max(8).default([300_000, 60_000]),
  retention: retentionClass.default('standard'),
})
export type Resource = z.infer<typeof resource>
export type OutagePolicy = z.infer<typeof outagePolicy>

/** The file that `sally apply` takes. */
export const resourcesFile = z.strictObject({ resources: z.array(resource).max(10_000) })
