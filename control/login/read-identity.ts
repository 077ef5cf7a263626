import { z } from 'zod'
import { email as emailShape, peopleGroup } from '../api/names.ts'
import { signInRefused } from './login-refusals.ts'
import type { LoginSettings } from './login-settings.ts'

/** What the provider says about who signed in. */
export interface ProviderIdentity {
  readonly issuer: string
  readonly subject: string
  readonly name: string
  readonly groups: readonly string[]
  /** Undefined where the provider sends none. Lower case. */
  readonly email: string | undefined
  readonly emailVerified: boolean
  readonly authTimeMs: number | null
  readonly acr: string | null
  readonly amr: readonly string[]
  /** The provider's own session, which it names when it tells that it ended (OpenID Connect Back-Channel Logout 1.0). */
  readonly sid?: string | undefined
}

const groupsMax = 200
const groupsShape = z.union([
  peopleGroup.transform((group) => [group]),
  z.array(peopleGroup).max(groupsMax),
])
/** OpenID Connect Core 1.0, 2: at most 255 ASCII characters. */
const subjectShape = z.string().regex(/^[\x20-\x7e]{1,255}$/)

type Reading = Pick<LoginSettings, 'groupsClaim' | 'trustUnmarkedEmails' | 'missingGroupsMeanNone'>

/**
 * Picks and bounds the claims that count. `claims` are the verified ones of the ID token, and those of the userinfo endpoint where
 * the token lacks them. Throws `sign-in-refused` that names the claim.
 */
export function readIdentity(
  claims: Readonly<Record<string, unknown>>,
  { groupsClaim, trustUnmarkedEmails = false, missingGroupsMeanNone = false }: Reading,
): ProviderIdentity {
  const { iss, sub, acr, amr, sid } = claims
  const authTime = claims['auth_time']
  const verified = claims['email_verified']
  const groups = claims[groupsClaim] ?? (missingGroupsMeanNone ? [] : undefined)
  if (isElsewhere(claims, groupsClaim)) {
    throw claimRefused(
      groupsClaim,
      'is not sent, for they are too many',
      'send only the groups that are assigned to this application',
    )
  }
  if (groups === undefined) {
    throw claimRefused(
      groupsClaim,
      'is missing',
      'send it for everybody, as an empty list for who is in no group (operators: or see --oidc-missing-groups-mean-none)',
    )
  }
  const email = claims['email']
  const name = claims['name']
  return {
    issuer: parse('iss', z.string().max(2_048), iss),
    subject: parse('sub', subjectShape, sub),
    name: typeof name === 'string' ? clean(name, 200) : '',
    groups: [...new Set(parse(groupsClaim, groupsShape, groups))],
    email: email === undefined ? undefined : parse('email', emailShape, email),
    // Some providers spell it as a text; anything but a yes is a no.
    emailVerified:
      verified === true || verified === 'true' || (verified === undefined && trustUnmarkedEmails),
    authTimeMs:
      authTime === undefined
        ? null
        : parse('auth_time', z.number().int().nonnegative().max(8_640_000_000_000), authTime) *
          1_000,
    acr: acr === undefined ? null : parse('acr', z.string().max(256), acr),
    amr: amr === undefined ? [] : parse('amr', z.array(z.string().max(64)).max(20), amr),
    ...(sid === undefined ? {} : { sid: parse('sid', z.string().min(1).max(512), sid) }),
  }
}

/** OpenID Connect Core 1.0, 5.6.2: a claim that is to be fetched somewhere else, as some do where a person is in many groups. */
function isElsewhere(claims: Readonly<Record<string, unknown>>, claim: string): boolean {
  const names = claims['_claim_names']
  return typeof names === 'object' && names !== null && Object.hasOwn(names, claim)
}

/** The verified address of somebody new. Throws `sign-in-refused` that names what is missing. */
export function requireVerifiedEmail(identity: ProviderIdentity): string {
  if (identity.email === undefined) {
    throw claimRefused(
      'email',
      'is missing',
      'send it to control, with email_verified (scope email)',
    )
  }
  if (!identity.emailVerified) {
    throw claimRefused(
      'email_verified',
      'is not true',
      'verify the address there, then sign in again (operators, where it is never sent: --oidc-trust-unmarked-emails)',
    )
  }
  return identity.email
}

function parse<T>(claim: string, shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value)
  if (parsed.success) return parsed.data
  throw claimRefused(claim, 'is not what it must be', 'correct it')
}

function claimRefused(claim: string, what: string, mend: string): Error {
  return signInRefused(
    `the identity provider’s claim "${claim}" ${what}`,
    `ask the operator of the identity provider to ${mend}`,
  )
}

function clean(text: string, charactersMax: number): string {
  // oxlint-disable-next-line no-control-regex -- these are what must not be in it
  return text.replaceAll(/[\u0000-\u001f\u007f]/g, '').slice(0, charactersMax)
}
