/** Who arrived: verifies the evidence. What is wrong with one's own certificate may be said aloud. */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { verifyClientCertificate } from '../../certs/verify.ts'
import type { Evidence } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Identities } from './identities.ts'
import { verifySshEvidence } from './verify-ssh-evidence.ts'
import type { EvidenceFacts, ControlView } from '../grants/control-view.ts'

/** Certificates whose signature is remembered. */
const cachedMax = 10_000

export interface Identity extends EvidenceFacts {
  readonly email: string
  /** Unix ms. Sessions go on past it, as a login that has ended takes them by itself; what is new does not begin. */
  readonly expiresAtMs?: number
}

export interface IdentifyOptions {
  readonly realm: string
  readonly demo: boolean
  /** Authorities of people that count besides those of the feed (a first start, before the feed is read). */
  readonly authoritiesPem: () => readonly string[]
  readonly view: ControlView
  /** Whom an identity of this gate stands for. Throws if it is none, or counts no more. */
  readonly factsOf: Identities['factsOf']
  readonly clock: Clock
}

/** Throws `evidence-missing`, `evidence-invalid`, `evidence-expired` or `demo-in-production`. */
export type Identify = (evidence: Evidence, remoteAddress: string) => Identity

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

  const ofCertificate = (certificate: Buffer): Identity => {
    const facts = verify(certificate)
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
        { clientMessage: 'this certificate is not for this installation', hint: renewHint },
      )
    }
    return {
      personId: facts.id,
      email: facts.email ?? '',
      kind: 'certificate',
      serial: facts.serial,
      issuedAtMs: facts.issuedAtMs,
      expiresAtMs: facts.expiresAtMs,
    }
  }

  const identityOf = (evidence: Evidence, remoteAddress: string): Identity => {
    switch (evidence.kind) {
      case 'none':
        throw missing()
      case 'bearer':
      case 'browser-session':
      case 'token':
        // For one resource, or only control can say whose it is: the gate redeems it.
        throw new SallyportError('evidence-invalid', 'a token where a certificate is needed', {
          clientMessage: 'a token does not say who you are here',
          hint: 'connect with your client certificate',
        })
      case 'identity':
        return options.factsOf(evidence.identity)
      case 'ssh-key':
        return verifySshEvidence(evidence, { ...options, atMs: clock.wallMs(), remoteAddress })
      case 'client-certificate':
        return ofCertificate(evidence.certificate)
    }
  }

  return (evidence, remoteAddress) => {
    const identity = identityOf(evidence, remoteAddress)
    const objection = view.certificateObjection(identity)
    if (objection !== undefined) throw revokedError(objection, identity)
    return identity
  }
}

function missing(): SallyportError {
  return new SallyportError('evidence-missing', 'the client showed no certificate', {
    clientMessage: 'a client certificate is required',
    hint: 'connect with your certificate and key (sally connect does; psql takes sslcert and sslkey), or with a one-time token as password (sally token connect <resource>)',
  })
}

/** What to say and to do, by what was revoked. */
const revokedWords: Readonly<Record<EvidenceFacts['kind'], readonly [string, string]>> = {
  certificate: ['your certificate was revoked', renewHint],
  token: ['your connect token was revoked', 'make a new one: sally token connect <resource>'],
  key: ['your SSH key was removed', 'sign in: sally login; or register it again'],
  login: ['your sign-in was ended', 'sign in again'],
  browser: ['you were signed out', 'sign in again'],
  'api-token': ['your API token was revoked', 'make a new one: sally proxy-token'],
}

export function revokedError(
  objection: 'person-revoked' | 'certificate-revoked',
  identity: Identity,
): SallyportError {
  const { kind, serial } = identity
  const [clientMessage, hint] =
    objection === 'person-revoked'
      ? ['your access was revoked', 'ask an admin']
      : revokedWords[kind]
  return new SallyportError('evidence-invalid', `${objection}: ${kind} ${serial}`, {
    clientMessage,
    hint,
  })
}

function sameTexts(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((text, index) => text === right[index])
}
