/** Who arrived: verifies the evidence. What is wrong with one's own certificate may be said aloud. */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { verifyClientCertificate } from '../../certs/verify.ts'
import type { Evidence } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { EvidenceFacts, ControlView } from '../grants/control-view.ts'

/** Certificates whose signature is remembered. */
const cachedMax = 10_000

export interface Identity extends EvidenceFacts {
  readonly email: string
}

export interface IdentifyOptions {
  readonly realm: string
  readonly demo: boolean
  /** Authorities of people that count besides those of the feed (a first start, before the feed is read). */
  readonly authoritiesPem: () => readonly string[]
  readonly view: ControlView
  readonly clock: Clock
}

/** Throws `evidence-missing`, `evidence-invalid`, `evidence-expired` or `demo-in-production`. */
export type Identify = (evidence: Evidence) => Identity

const renewHint = 'get a new certificate from whoever signs you in, and try again'

export function createIdentify(options: IdentifyOptions): Identify {
  const { view, clock } = options
  const verified = new LRUCache<string, ReturnType<typeof verifyClientCertificate>>({
    max: cachedMax,
  })
  let authoritiesPem: readonly string[] = []

  const verify = (certificate: Buffer) => {
    const present = options.authoritiesPem()
    if (!sameTexts(present, authoritiesPem)) {
      authoritiesPem = [...present]
      verified.clear()
    }
    const fingerprint = createHash('sha256').update(certificate).digest('base64')
    const atMs = clock.wallMs()
    const known = verified.get(fingerprint)
    // Its signature holds; its time is looked at again.
    if (known !== undefined && known.issuedAtMs <= atMs && atMs < known.expiresAtMs) return known
    const facts = verifyClientCertificate(certificate, { authoritiesPem, kind: 'person', atMs })
    verified.set(fingerprint, facts)
    return facts
  }

  return (evidence) => {
    if (evidence.kind === 'none') {
      throw new SallyportError('evidence-missing', 'the client showed no certificate', {
        clientMessage: 'a client certificate is required',
        hint: 'connect with your certificate and key (sally connect does; psql takes sslcert and sslkey), or with a one-time token as password (sally token connect <resource>)',
      })
    }
    if (evidence.kind === 'token') {
      // Only control can say whose it is: the gate redeems it.
      throw new SallyportError('evidence-invalid', 'a token where a certificate is needed', {
        clientMessage: 'a token does not say who you are here',
        hint: 'connect with your client certificate',
      })
    }
    if (evidence.kind !== 'client-certificate') {
      throw new SallyportError('evidence-invalid', `${evidence.kind}: not built yet`)
    }
    const facts = verify(evidence.certificate)
    if (facts.realm !== options.realm) {
      throw new SallyportError('evidence-invalid', `a certificate of realm ${facts.realm}`, {
        clientMessage: 'this certificate is not for this installation',
        hint: renewHint,
      })
    }
    if (facts.demo !== options.demo) {
      throw new SallyportError(
        'demo-in-production',
        'a certificate of a demo in a real proxy, or v.v.',
        {
          clientMessage: 'this certificate is not for this installation',
          hint: renewHint,
        },
      )
    }
    const identity: Identity = {
      personId: facts.id,
      email: facts.email ?? '',
      kind: 'certificate',
      serial: facts.serial,
      issuedAtMs: facts.issuedAtMs,
    }
    const objection = view.certificateObjection(identity)
    if (objection !== undefined) throw revokedError(objection, identity)
    return identity
  }
}

export function revokedError(
  objection: 'person-revoked' | 'certificate-revoked',
  identity: Identity,
): SallyportError {
  const { kind, serial } = identity
  const [clientMessage, hint] =
    objection === 'person-revoked'
      ? ['your access was revoked', 'ask an admin']
      : kind === 'token'
        ? ['your connect token was revoked', 'make a new one: sally token connect <resource>']
        : ['your certificate was revoked', renewHint]
  return new SallyportError('evidence-invalid', `${objection}: ${kind} ${serial}`, {
    clientMessage,
    hint,
  })
}

function sameTexts(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((text, index) => text === right[index])
}
