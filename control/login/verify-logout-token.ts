/** Logout tokens of OpenID Connect Back-Channel Logout 1.0: what the provider sends when somebody's session there is over. */
import { createLocalJWKSet, jwtVerify, type JWTVerifyGetKey } from 'jose'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'

/** Whose sign-ins are over: of one session at the provider, else all of a subject. At least one of the two is there. */
export interface LogoutClaims {
  readonly issuer: string
  readonly sid: string | undefined
  readonly subject: string | undefined
  /** Each token is good once. */
  readonly jti: string
  /** It need not be remembered for longer. */
  readonly forgetAtMs: number
}

/** Section 2.4. `typ` is recommended there; where it is missing, the `events` claim still tells it from an ID token. */
const eventName = 'http://schemas.openid.net/event/backchannel-logout'
const claimsShape = z.object({
  iss: z.string(),
  iat: z.number(),
  jti: z.string().min(1).max(512),
  sid: z.string().min(1).max(512).optional(),
  sub: z.string().min(1).max(255).optional(),
  events: z.object({ [eventName]: z.object({}) }),
  nonce: z.never().optional(),
})
const keySetShape = z.object({ keys: z.array(z.record(z.string(), z.unknown())).max(100) })

/** Between control's clock and the provider's. */
const toleranceMs = 60_000
/** A token is sent as soon as it is made. */
const ageMsMax = 5 * 60_000
export const logoutTokenCharactersMax = 8_192

/** What the provider answered at its `jwks_uri`. */
export async function readKeySet(response: Response): Promise<JWTVerifyGetKey> {
  if (response.status !== 200) throw new Error(`its keys: status ${response.status}`)
  return createLocalJWKSet(keySetShape.parse(await response.json()))
}

/** Rejects with `evidence-invalid`. */
export async function verifyLogoutToken(
  token: string,
  keys: JWTVerifyGetKey,
  { issuer, clientId, atMs }: { issuer: string; clientId: string; atMs: number },
): Promise<LogoutClaims> {
  try {
    if (token.length > logoutTokenCharactersMax) throw new Error('it is too long')
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer,
      audience: clientId,
      // Of public keys alone: never a MAC under the client's secret.
      algorithms: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA'],
      currentDate: new Date(atMs),
      clockTolerance: toleranceMs / 1_000,
    })
    const { typ } = protectedHeader
    if (typ !== undefined && !/^(?:application\/)?logout\+jwt$/i.test(typ)) {
      throw new Error(`it is of type ${typ}`)
    }
    const claims = claimsShape.parse(payload)
    const iatMs = claims.iat * 1_000
    if (iatMs > atMs + toleranceMs) throw new Error('it is from the future')
    if (iatMs < atMs - ageMsMax) throw new Error('it is too old')
    const { sid, sub: subject } = claims
    if (sid === undefined && subject === undefined) throw new Error('it names nobody')
    return {
      ...{ issuer, sid, subject, jti: claims.jti },
      forgetAtMs: Math.ceil(iatMs + ageMsMax + toleranceMs),
    }
  } catch (error) {
    throw new SallyportError('evidence-invalid', `logout token refused: ${String(error)}`, {
      clientMessage: 'this logout token was refused',
      cause: error,
    })
  }
}
