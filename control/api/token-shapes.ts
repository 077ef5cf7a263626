/** Shapes of the API's routes about tokens. Times are Unix milliseconds of control's clock. */
import { z } from 'zod'
import * as names from './names.ts'
import { pageQuery } from './shapes.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)
const tokenName = z
  .string()
  .max(100)
  .trim()
  .min(1)
  .refine(names.hasNoZero, 'must not hold a zero byte')
export const tokenView = z.strictObject({
  id: names.id,
  /** `connect` lets one connection in, once; `api` stands for the person towards this API. */
  kind: z.enum(['connect', 'api']),
  personEmail: names.email,
  state: z.enum(['live', 'used', 'ended', 'revoked']),
  madeAtMs: names.timeMs,
  expiresAtMs: names.timeMs,
  /** Of an API token to the hour. */
  usedAtMs: names.timeMs.nullable(),
  revokedAtMs: names.timeMs.nullable(),
  resource: names.resourceName.nullable(),
  level: names.level.nullable(),
  sessionId: names.id.nullable(),
  name: tokenName.nullable(),
  scope: names.tokenScope.nullable(),
})
export type TokenView = z.infer<typeof tokenView>
export const tokensQuery = pageQuery.extend({
  person: names.email.optional(),
  state: z.enum(['live', 'all']).default('live'),
})
export const tokenMake = z.strictObject({
  name: tokenName,
  scope: names.tokenScope,
  forMs: z
    .int()
    .min(60_000)
    .max(90 * 86_400_000),
})
/** `token` is shown this once. */
export const tokenMade = tokenView.extend({ token: text(128) })
export const connectTokenMake = z.strictObject({
  resource: names.resourceName,
  level: names.level.optional(),
})
export const connectTokenMade = z.strictObject({
  id: names.id,
  /** The password of one connection; shown this once. */
  token: text(128),
  hostname: text(253),
  /** The login name that says whose token it is; others may be given as ever. */
  user: text(320),
  expiresAtMs: names.timeMs,
})
