import type { KeyObject, X509Certificate } from 'node:crypto'
import { parseIdentityUri, type Identity } from './identity-uri.ts'

/** The parts of a certificate that we go by. Reading is not verifying. */
export interface CertificateParts {
  /** Undefined unless its alternative name is exactly one URI, and that one of ours. */
  readonly identity: Identity | undefined
  readonly authority: boolean
  /** Object identifiers of its extended key usage. */
  readonly usages: readonly string[]
  /** The common name, if there is exactly one. */
  readonly commonName: string | undefined
  readonly demo: boolean
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string
  readonly notBeforeMs: number
  readonly expiresAtMs: number
  readonly publicKey: KeyObject
}

export function readCertificate(certificate: X509Certificate): CertificateParts {
  const subject = certificate.toLegacyObject().subject as unknown as Partial<
    Record<'CN' | 'OU', string | string[]>
  >
  return {
    identity: identityOf(certificate.subjectAltName),
    authority: certificate.ca,
    // Node gives the extended key usage under this name.
    usages: certificate.keyUsage ?? [],
    commonName: typeof subject.CN === 'string' ? subject.CN : undefined,
    demo: [subject.OU].flat().includes('demo'),
    serial: certificate.serialNumber.toLowerCase().replace(/^0+/, ''),
    notBeforeMs: certificate.validFromDate.getTime(),
    expiresAtMs: certificate.validToDate.getTime(),
    publicKey: certificate.publicKey,
  }
}

/**
 * Node prints the names as `TYPE:value, TYPE:value` and quotes any value that could be mistaken for two. What an identity may
 * contain needs no quotes, so the whole text must be one URI.
 */
function identityOf(names: string | undefined): Identity | undefined {
  return names?.startsWith('URI:') === true ? parseIdentityUri(names.slice(4)) : undefined
}
