import { randomBytes, X509Certificate, type KeyObject } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  X509Certificate as LibraryCertificate,
  type Extension,
  type JsonGeneralNames,
  type JsonName,
} from './x509-library.ts'
import type { Clock } from '../protocols/kit/clock.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import type { Signer } from './signer.ts'

/** A certificate that was issued. */
export interface Issued {
  readonly certificatePem: string
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string
  /** Unix milliseconds, whole seconds. */
  readonly notBeforeMs: number
  readonly expiresAtMs: number
}

export type Usage = 'authority' | 'client' | 'server'

/** What is about to be signed; the issuing functions fill it, each for its own kind. */
export interface CertificateContent {
  readonly subject: readonly (readonly ['O' | 'CN' | 'OU', string])[]
  readonly names: JsonGeneralNames
  readonly usage: Usage
  readonly publicKey: KeyObject
  readonly clock: Clock
  /** Counted from now, milliseconds; at most `validForMsMax`. */
  readonly validForMs: number
  readonly validForMsMax: number
  /** Unix milliseconds: it ends by this moment, however long it is valid for. */
  readonly endsByMs?: number
  /** Unix milliseconds: the certificate begins after this moment. For a holder whose earlier certificates count no more. */
  readonly beginsAfterMs?: number
}

/** The signing side: an authority, or a key that is about to become one. */
export interface Issuer {
  readonly signer: Signer
  /** Undefined: the certificate is signed by its own key. */
  readonly certificatePem: string | undefined
}

/** Certificates begin a minute early, for clocks that are a little behind. */
const earlyMs = 60_000
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/**
 * Signs one certificate (RFC 5280) through the issuer's `Signer`, which is the only way to its key: the library lays the
 * certificate out once with a signature of zeros, the signer signs that body, and it is laid out again around the real one.
 * @throws SallyportError `request-invalid` if the validity is not within its bounds.
 */
export async function signCertificate(
  issuer: Issuer,
  content: CertificateContent,
): Promise<Issued> {
  if (issuer.signer.algorithm !== 'ES256') {
    throw new SallyportError('config-invalid', 'an authority signs certificates with a P-256 key')
  }
  const parent =
    issuer.certificatePem === undefined ? undefined : new X509Certificate(issuer.certificatePem)
  if (parent !== undefined && !parent.publicKey.equals(issuer.signer.publicKey)) {
    throw new SallyportError('config-invalid', "the signer is not that of the authority's key")
  }
  const validity = validityOf(content, parent)
  const subject: JsonName = content.subject.map(([type, value]) => ({ [type]: [value] }))
  const publicKey = libraryKey(content.publicKey)
  const extensions = await extensionsOf(content, issuer.signer.publicKey)
  const serial = randomSerial()
  const layOut = async (signature: Uint8Array): Promise<Buffer> => {
    const certificate = await X509CertificateGenerator.create({
      serialNumber: serial,
      subject,
      issuer: parent === undefined ? subject : new LibraryCertificate(parent.raw).subjectName,
      notBefore: new Date(validity.notBeforeMs),
      notAfter: new Date(validity.expiresAtMs),
      publicKey,
      extensions,
      signingAlgorithm: algorithm,
      signature: Uint8Array.from(signature),
    })
    return Buffer.from(certificate.rawData)
  }
  const body = bodyOf(await layOut(new Uint8Array(64).fill(1)))
  const der = await layOut(await issuer.signer.sign(body))
  const signed = new X509Certificate(der)
  if (!bodyOf(der).equals(body) || !signed.verify(issuer.signer.publicKey)) {
    throw new SallyportError(
      'internal',
      'the signer did not sign the certificate that was asked for',
    )
  }
  return { certificatePem: signed.toString(), serial: serial.replace(/^0+/, ''), ...validity }
}

function validityOf(content: CertificateContent, parent: X509Certificate | undefined) {
  if (
    !Number.isFinite(content.validForMs) ||
    content.validForMs <= 0 ||
    content.validForMs > content.validForMsMax
  ) {
    throw new SallyportError(
      'request-invalid',
      `a certificate of this kind is valid for at most ${content.validForMsMax} ms, not ${content.validForMs}`,
    )
  }
  const nowMs = content.clock.wallMs()
  const endMs = Math.min(nowMs + content.validForMs, content.endsByMs ?? Infinity)
  // A certificate that outlives its authority would fail in some clients and not in others.
  const parentEndMs = parent === undefined ? endMs : parent.validToDate.getTime()
  if (parentEndMs <= nowMs) {
    throw new SallyportError('config-invalid', 'the authority itself has expired', {
      hint: 'make a new authority and let both be trusted while old certificates run out',
    })
  }
  return {
    notBeforeMs: Math.max(
      wholeSeconds(nowMs - earlyMs),
      content.beginsAfterMs === undefined ? 0 : wholeSeconds(content.beginsAfterMs) + 1000,
    ),
    expiresAtMs: wholeSeconds(Math.min(endMs, parentEndMs)),
  }
}

/** X.509 has no fractions of a second. */
function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000
}

/** 128 random bits (RFC 5280, 4.1.2.2 wants a positive number of at most 20 octets). */
function randomSerial(): string {
  const bytes = randomBytes(16)
  return bytes[0] === 0 ? randomSerial() : bytes.toString('hex')
}

async function extensionsOf(
  content: CertificateContent,
  issuerKey: KeyObject,
): Promise<Extension[]> {
  const authority = content.usage === 'authority'
  const extensions: Extension[] = [
    new BasicConstraintsExtension(authority, authority ? 0 : undefined, true),
    new KeyUsagesExtension(
      authority ? KeyUsageFlags.keyCertSign : KeyUsageFlags.digitalSignature,
      true,
    ),
    await SubjectKeyIdentifierExtension.create(libraryKey(content.publicKey)),
    await AuthorityKeyIdentifierExtension.create(libraryKey(issuerKey)),
    new SubjectAlternativeNameExtension(content.names),
  ]
  if (!authority) {
    const usage =
      content.usage === 'client' ? ExtendedKeyUsage.clientAuth : ExtendedKeyUsage.serverAuth
    extensions.push(new ExtendedKeyUsageExtension([usage]))
  }
  return extensions
}

function libraryKey(key: KeyObject): PublicKey {
  return new PublicKey(key.export({ type: 'spki', format: 'der' }))
}

/**
 * The TBSCertificate of a certificate: the first element of the outer SEQUENCE (X.690, 8.1). Both are longer than 255 and
 * shorter than 65,536 bytes, so both have the four-byte header 30 82 LL LL.
 */
function bodyOf(certificate: Buffer): Buffer {
  if (certificate.readUInt16BE(0) !== 0x3082 || certificate.readUInt16BE(4) !== 0x3082) {
    throw new SallyportError('internal', 'a certificate of unexpected size')
  }
  return certificate.subarray(4, 8 + certificate.readUInt16BE(6))
}
