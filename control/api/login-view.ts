import { z } from 'zod'
import * as names from './names.ts'
import { pageQuery } from './page.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)

/** A sign-in with the identity provider. */
export const login = z.strictObject({
  id: names.id,
  issuer: text(2_048),
  begunAtMs: names.timeMs,
  /** Its certificates end then at the latest. */
  endsAtMs: names.timeMs,
  /** When the person last proved who they are, as the provider says; null if it does not. */
  authTimeMs: names.timeMs.nullable(),
  /** How strongly (authentication context class reference), as the provider says. */
  acr: text(256).nullable(),
  /** With what: `pwd`, `otp`, `hwk` (RFC 8176), as the provider says. */
  amr: z.array(text(64)),
  /** Whether `sally login --refresh` can renew the certificate without the person. */
  refreshable: z.boolean(),
})
export type Login = z.infer<typeof login>

/** A sign-in as lists show it. */
export const listedLogin = login.extend({
  personEmail: names.email,
  /** The proxy that holds a sign-in made at a terminal; null for one of `sally login`. */
  proxyName: text(200).nullable(),
  state: z.enum(['live', 'ended']),
  /** Null for one that is live, or has run out. */
  endedAtMs: names.timeMs.nullable(),
  endReason: text(1_000).nullable(),
})
export type ListedLogin = z.infer<typeof listedLogin>

export const loginsQuery = pageQuery.extend({
  person: names.email.optional(),
  state: z.enum(['live', 'all']).default('live'),
})
