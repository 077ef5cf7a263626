/**
 * What control signs and a proxy verifies offline: grants and leases, as compact JWS with EdDSA (RFC 8037).
 * Each kind has its own `typ` and audience, so that none passes for another (RFC 8725, 3.11).
 */
import { compactVerify, type CryptoKey, type KeyObject } from 'jose'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { email, groupName, id, level, realm, resourceName, timeMs } from './names.ts'

/** Permission for one person, one resource, one level, until a moment. */
export const grantClaims = z.strictObject({
  realm,
  grantId: id,
  /** Grows by one with each change of the grant. A proxy never honours a lower one than it has seen. */
  revision: z.int().min(1),
  personId: id,
  personEmail: email,
  resource: resourceName,
  level,
  group: groupName,
  issuedAtMs: timeMs,
  notBeforeMs: timeMs,
  expiresAtMs: timeMs,
})
export type GrantClaims = z.infer<typeof grantClaims>

/** Control's word to one proxy that its view of the feed was complete up to `position` at `issuedAtMs`. */
export const leaseClaims = z.strictObject({
  realm,
  proxyId: id,
  position: z.int().nonnegative(),
  issuedAtMs: timeMs,
})
export type LeaseClaims = z.infer<typeof leaseClaims>

/** The head of one chain at one moment; signed by its proxy, countersigned by control. */
export const checkpointClaims = z.strictObject({
  realm,
  /** A proxy's id, or `control`. */
  chain: z.string().max(64),
  epoch: z.string().max(64),
  batch: z.int().nonnegative(),
  /** Sequence of the last entry of that batch. */
  sequence: z.int().nonnegative(),
  /** The batch's link, hex. */
  link: z.string().regex(/^[0-9a-f]{64}$/),
  atMs: timeMs,
})
export type CheckpointClaims = z.infer<typeof checkpointClaims>

/** A browser's visit to an app that it has no session of; signed by the proxy that it came from. */
export const appVisitClaims = z.strictObject({
  realm,
  proxyId: id,
  group: groupName,
  /** What the browser calls the app: a resource's name, if there is such a one. */
  resource: z.string().max(253),
  /** At least this is wanted. */
  level,
  /** The port that the browser knows the proxy by. */
  port: z.int().min(1).max(65_535),
  /** SHA-256, hex, of what the browser keeps meanwhile. */
  challenge: z.string().regex(/^[0-9a-f]{64}$/),
  issuedAtMs: timeMs,
})
export type AppVisitClaims = z.infer<typeof appVisitClaims>

/** One browser's session at one app, under one grant; signed by control, kept by the browser as a cookie of that app. */
export const appSessionClaims = z.strictObject({
  realm,
  signInId: id,
  personId: id,
  personEmail: email,
  resource: resourceName,
  group: groupName,
  grantId: id,
  level,
  issuedAtMs: timeMs,
  expiresAtMs: timeMs,
})
export type AppSessionClaims = z.infer<typeof appSessionClaims>

const kinds = {
  grant: { typ: 'sallyport-grant', claims: grantClaims },
  lease: { typ: 'sallyport-lease', claims: leaseClaims },
  checkpoint: { typ: 'sallyport-checkpoint', claims: checkpointClaims },
  'app-visit': { typ: 'sallyport-app-visit', claims: appVisitClaims },
  'app-session': { typ: 'sallyport-app-session', claims: appSessionClaims },
  countersignature: { typ: 'sallyport-countersignature', claims: checkpointClaims },
} as const
export type TokenKind = keyof typeof kinds
export type TokenClaims<K extends TokenKind> = z.infer<(typeof kinds)[K]['claims']>

export interface SigningKey {
  readonly kid: string
  /** `EdDSA` for control's keys, `ES256` for a proxy's certificate key. */
  readonly alg: 'EdDSA' | 'ES256'
  /** Signs the JWS signing input; the raw signature as RFC 7518 and RFC 8037 want it. */
  sign(data: Uint8Array): Promise<Uint8Array>
}

/** Signs claims with a key that may live elsewhere (a `Signer`). Compact JWS. */
export async function signToken<K extends TokenKind>(
  kind: K,
  claims: TokenClaims<K>,
  key: SigningKey,
): Promise<string> {
  const header = { alg: key.alg, typ: kinds[kind].typ, kid: key.kid }
  const input = `${encode(header)}.${encode(kinds[kind].claims.parse(claims))}`
  const signature = await key.sign(Buffer.from(input, 'ascii'))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** Finds a public key by `kid`; throws or rejects for one it does not know. */
export type VerificationKeys = (kid: string) => KeyObject | CryptoKey

/**
 * Verifies type, algorithm, signature and shape. Says nothing about expiry: that is for a `Clock`.
 * Rejects with `evidence-invalid`.
 */
export async function verifyToken<K extends TokenKind>(
  kind: K,
  token: string,
  keys: VerificationKeys,
): Promise<TokenClaims<K>> {
  try {
    const { payload } = await compactVerify(
      token,
      (header) => {
        if (header.typ !== kinds[kind].typ) throw new Error(`token of type ${String(header.typ)}`)
        return keys(String(header.kid))
      },
      { algorithms: ['EdDSA', 'Ed25519', 'ES256'] },
    )
    const json: unknown = JSON.parse(Buffer.from(payload).toString('utf8'))
    return kinds[kind].claims.parse(json) as TokenClaims<K>
  } catch (error) {
    throw new SallyportError(
      'evidence-invalid',
      `${kind} token does not verify: ${String(error)}`,
      {
        cause: error,
      },
    )
  }
}
