/** Shapes of what control does for HTTP. Times are Unix milliseconds of control's clock. */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import * as names from './names.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)
/** 32 bytes, base64url. */
const secret = z.string().regex(/^[A-Za-z0-9_-]{43}$/)

/** Where a browser comes to from an app that it has no session of; `visit` is an `appVisit` of tokens.ts. */
export const openAppPath = '/apps/open'
/** Where a browser signs out everywhere. */
export const signOutPath = '/sign-out'

/** What a visit says of what the browser keeps: SHA-256, hex, of its 43 characters. */
export function challengeOf(binding: string): string {
  return createHash('sha256').update(binding, 'ascii').digest('hex')
}

export const appFinish = z.strictObject({
  code: secret,
  /** What the browser kept since it left: `challenge` of its visit is `challengeOf` this. */
  binding: secret,
  /** What the browser calls the app: a resource's name, if there is such a one. */
  resource: text(253),
  remoteAddress: z.union([z.ipv4(), z.ipv6()]),
})
export const appFinished = z.strictObject({
  /** A signed `appSession` of tokens.ts. */
  session: text(4_096),
  expiresAtMs: names.timeMs,
})

/** A public key of P-256 (RFC 7518, 6.2.1). */
export const assertionKey = z.strictObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: secret,
  y: secret,
})
export type AssertionKey = z.infer<typeof assertionKey>
/** What a key is named by: its thumbprint (RFC 7638). */
export function assertionKeyId({ kty, crv, x, y }: AssertionKey): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
export const assertionKeyAdded = z.strictObject({
  /** The key's thumbprint (RFC 7638): what assertions name it by. */
  kid: secret,
  /** Add it again before. */
  expiresAtMs: names.timeMs,
})
/** `domain`: of the group of proxies whose keys are asked for; an app believes no other's. Absent: of all of them. */
export const jwksQuery = z.strictObject({ domain: text(253).toLowerCase().optional() })
/** RFC 7517. */
export const jwks = z.strictObject({
  keys: z.array(
    assertionKey.extend({ kid: secret, use: z.literal('sig'), alg: z.literal('ES256') }),
  ),
})
