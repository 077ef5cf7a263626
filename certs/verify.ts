import { X509Certificate, type KeyObject } from 'node:crypto'
import { SallyportError } from '../protocols/kit/errors.ts'
import type { AuthorityPurpose } from './authority.ts'
import { isP256 } from './key-signer.ts'
import { readCertificate, type CertificateParts } from './read-certificate.ts'

/** Whose certificate it was, once verified. */
export interface VerifiedClient {
  readonly realm: string
  /** UUID of the person or proxy. */
  readonly id: string
  /** A person's e-mail address, as control had it when it issued the certificate. */
  readonly email?: string
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  /** The certificate or its authority is marked as a demo's. */
  readonly demo: boolean
  readonly publicKey: KeyObject
}

export type ClientKind = 'person' | 'proxy'

const purposeOf = { person: 'people', proxy: 'proxies' } as const satisfies Record<
  ClientKind,
  AuthorityPurpose
>
const clientAuth = '1.3.6.1.5.5.7.3.2'
/** Ours have some 700 bytes. Nothing longer is worth parsing for a stranger. */
const certificateBytesMax = 8_192

/**
 * Verifies a client certificate (DER) that a TLS handshake delivered: signed by one of `authoritiesPem`, which must be authorities
 * for this kind and of the same realm; a leaf for client authentication and nothing else; exactly one identity, of this kind;
 * valid at `atMs` (from its first moment to just before its last). That the client holds the key, the handshake has shown. Revocation is for
 * the caller, by serial or id.
 * @throws SallyportError `evidence-expired` if only the time is wrong, else `evidence-invalid`.
 */
export function verifyClientCertificate(
  der: Buffer,
  options: { authoritiesPem: readonly string[]; kind: ClientKind; atMs: number },
): VerifiedClient {
  const { authoritiesPem, kind, atMs } = options
  const certificate = parse(der)
  const authority = authoritiesPem
    .map(authorityOf)
    .find((candidate) => hasSigned(candidate.certificate, certificate))
  if (authority === undefined) throw invalid('none of the known authorities signed it')
  const parts = readCertificate(certificate)
  requireAuthority(authority.parts, kind)
  requireLeaf(parts, authority.parts, kind)
  requireMoment(authority.parts, atMs, 'its authority')
  requireMoment(parts, atMs, 'it')
  return {
    realm: parts.identity!.realm,
    id: parts.identity!.id,
    ...(kind === 'person' && parts.commonName !== undefined ? { email: parts.commonName } : {}),
    serial: parts.serial,
    issuedAtMs: parts.notBeforeMs,
    expiresAtMs: parts.expiresAtMs,
    demo: parts.demo || authority.parts.demo,
    publicKey: parts.publicKey,
  }
}

interface ParsedAuthority {
  readonly certificate: X509Certificate
  readonly parts: CertificateParts
}

/** Parsed once each: authorities are few and change once in years, certificates arrive with every session. */
const authorities = new Map<string, ParsedAuthority>()
const authoritiesMax = 64

function authorityOf(pem: string): ParsedAuthority {
  let authority = authorities.get(pem)
  if (authority === undefined) {
    const certificate = new X509Certificate(pem)
    authority = { certificate, parts: readCertificate(certificate) }
    if (authorities.size >= authoritiesMax) authorities.clear()
    authorities.set(pem, authority)
  }
  return authority
}

function parse(der: Buffer): X509Certificate {
  if (der.length > certificateBytesMax) throw invalid('it is too long')
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(der)
  } catch (error) {
    throw invalid('it cannot be parsed', error)
  }
  // Bytes after the certificate, or PEM instead of DER, would be bytes that nobody signed.
  if (!certificate.raw.equals(der)) throw invalid('it is not exactly one certificate')
  return certificate
}

/** Names, key identifiers and key usage (RFC 5280, 6.1) by OpenSSL, then the signature itself. */
function hasSigned(authority: X509Certificate, certificate: X509Certificate): boolean {
  try {
    return certificate.checkIssued(authority) && certificate.verify(authority.publicKey)
  } catch {
    return false
  }
}

function requireAuthority(authority: CertificateParts, kind: ClientKind): void {
  const { identity } = authority
  if (!authority.authority || identity?.kind !== 'authority' || identity.id !== purposeOf[kind]) {
    throw invalid(`its signer is no authority for ${purposeOf[kind]}`)
  }
}

function requireLeaf(leaf: CertificateParts, authority: CertificateParts, kind: ClientKind): void {
  if (leaf.authority) throw invalid('it belongs to an authority')
  if (leaf.usages.length !== 1 || leaf.usages[0] !== clientAuth) {
    throw invalid('it is not for client authentication alone')
  }
  if (leaf.identity?.kind !== kind) throw invalid(`it does not name exactly one ${kind}`)
  if (leaf.identity.realm !== authority.identity?.realm) {
    throw invalid('its realm is not that of its authority')
  }
  if (!isP256(leaf.publicKey)) throw invalid('its key is not ECDSA P-256')
  if (leaf.serial === '') throw invalid('its serial number is zero')
}

function requireMoment(parts: CertificateParts, atMs: number, what: string): void {
  if (atMs >= parts.notBeforeMs && atMs < parts.expiresAtMs) return
  const from = new Date(parts.notBeforeMs).toISOString()
  const to = new Date(parts.expiresAtMs).toISOString()
  throw new SallyportError(
    'evidence-expired',
    `client certificate refused: ${what} is valid from ${from} to ${to}`,
    {
      clientMessage: 'your client certificate is not valid at this time',
      hint: 'get a new certificate; if yours is new, check the clock of your machine',
    },
  )
}

function invalid(why: string, cause?: unknown): SallyportError {
  return new SallyportError('evidence-invalid', `client certificate refused: ${why}`, {
    clientMessage: 'your client certificate was refused',
    cause,
  })
}
