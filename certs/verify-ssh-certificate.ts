import { SallyportError } from '../protocols/kit/errors.ts'
import {
  isSignedByAuthority,
  parseSshCertificate,
  sshCertificateMoment,
  type SshCertificate,
} from '../protocols/kit/ssh-certificate.ts'
import { parseIdentityUri } from './identity-uri.ts'
import { personValidForMsMax } from './issue-person.ts'
import { demoExtension, earlyMs } from './sign-ssh-certificate.ts'
import { isAddressListed } from './source-address.ts'

/** Whose certificate it was, once verified. */
export interface VerifiedSshUser {
  readonly realm: string
  /** UUID. */
  readonly personId: string
  /** As control had it when it issued the certificate. */
  readonly email: string
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  readonly demo: boolean
  /** The key that must have signed; for `verifySshSignature`. */
  readonly subject: SshCertificate['subject']
}

/**
 * Verifies a user certificate that a client offered: signed by one of `authorities` (blobs of the authorities of people; they must be those of
 * nothing else), for a user, naming exactly one person and no other principal, valid at `atMs`, no longer than such certificates are, and
 * with no critical option but a `source-address` that fits. That the client holds the key its signature must show
 * (`verifySshSignature`); whether the certificate was revoked is for the caller, by serial or person.
 * @throws SallyportError `evidence-expired` if only the time is wrong, else `evidence-invalid`.
 */
export function verifySshUserCertificate(
  blob: Buffer,
  options: { authorities: readonly Buffer[]; atMs: number; remoteAddress: string },
): VerifiedSshUser {
  const certificate = parse(blob)
  if (!isSignedByAuthority(certificate, options.authorities)) {
    throw invalid('none of the known authorities signed it')
  }
  if (certificate.kind !== 'user') throw invalid('it is a host’s')
  const [principal, ...more] = certificate.principals
  const identity = principal === undefined ? undefined : parseIdentityUri(principal)
  if (identity?.kind !== 'person' || more.length > 0) {
    throw invalid('it does not name exactly one person')
  }
  if (certificate.serial === 0n) throw invalid('its serial number is zero')
  requireOptions(certificate, options.remoteAddress)
  const { validAfter, validBefore } = certificate
  // One without an end would be one that nobody of ours made.
  const lifeMsMax = BigInt(personValidForMsMax + earlyMs + 1_000)
  if (validBefore <= validAfter || (validBefore - validAfter) * 1000n > lifeMsMax) {
    throw invalid('it is valid for too long')
  }
  const issuedAtMs = Number(validAfter) * 1000
  const expiresAtMs = Number(validBefore) * 1000
  if (sshCertificateMoment(certificate, options.atMs) !== 'valid') {
    throw expired(`valid from ${validAfter} to ${validBefore} (Unix seconds)`)
  }
  return {
    realm: identity.realm,
    personId: identity.id,
    email: certificate.keyId,
    serial: certificate.serial.toString(16),
    issuedAtMs,
    expiresAtMs,
    demo: certificate.extensions.has(demoExtension),
    subject: certificate.subject,
  }
}

function parse(blob: Buffer): SshCertificate {
  try {
    return parseSshCertificate(blob)
  } catch (error) {
    throw invalid('it cannot be read', error)
  }
}

/** Whoever does not know a critical option must refuse the certificate (PROTOCOL.certkeys). */
function requireOptions({ criticalOptions }: SshCertificate, remoteAddress: string): void {
  for (const [name, value] of criticalOptions) {
    if (name !== 'source-address') throw invalid(`the option ${name} is not known here`)
    if (!isAddressListed(value, remoteAddress)) {
      throw invalid(`it is not for use from ${remoteAddress}`)
    }
  }
}

function expired(what: string): SallyportError {
  return new SallyportError('evidence-expired', `SSH certificate refused: ${what}`, {
    clientMessage: 'your SSH certificate is not valid at this time',
    hint: 'sign in again: sally login; if you just did, check the clock of your machine',
  })
}

function invalid(why: string, cause?: unknown): SallyportError {
  return new SallyportError('evidence-invalid', `SSH certificate refused: ${why}`, {
    clientMessage: 'your SSH certificate was refused',
    hint: 'sign in again: sally login',
    cause,
  })
}
