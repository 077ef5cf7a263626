/** Who somebody is, for the app behind a session: a JWT of a minute (RFC 7519), signed once in half a minute. */
import type { Clock } from '../../protocols/kit/clock.ts'
import type { SessionLabels } from '../../protocols/session.ts'
import type { AssertionSigner } from '../identity/assertion-keys.ts'

export interface AssertionOptions {
  readonly labels: SessionLabels
  /** Of the proxy: who says so, and where the app is for its clients. */
  readonly domain: string
  readonly signer: AssertionSigner
  /** Of a session that was cut nothing is said any more. */
  readonly throwIfCut: () => void
  readonly clock: Pick<Clock, 'wallMs' | 'monotonicMs'>
}

const lifeSeconds = 60
const cachedMs = 30_000

export function createAssertion(options: AssertionOptions): () => string {
  const { labels, domain, signer, clock, throwIfCut } = options
  const header = encode({ alg: 'ES256', typ: 'JWT', kid: signer.kid })
  let token = ''
  let signedMs = -Infinity
  let signedAtMs = 0

  return () => {
    throwIfCut()
    const [nowMs, atMs] = [clock.monotonicMs(), clock.wallMs()]
    // By both clocks: one that was set says another time than the token does.
    const isFresh = nowMs - signedMs < cachedMs && Math.abs(atMs - signedAtMs) < cachedMs
    if (isFresh) return token
    const issuedAt = Math.floor(atMs / 1_000)
    const payload = encode({
      iss: `https://${domain}`,
      aud: `https://${labels.resource}.${domain}`,
      sub: labels.personId,
      email: labels.personEmail,
      level: labels.level,
      grant: labels.grantId,
      session: labels.sessionId,
      iat: issuedAt,
      exp: issuedAt + lifeSeconds,
    })
    const input = `${header}.${payload}`
    token = `${input}.${signer.sign(Buffer.from(input, 'ascii')).toString('base64url')}`
    signedMs = nowMs
    signedAtMs = atMs
    return token
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
