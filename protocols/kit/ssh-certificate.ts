import { ByteReader } from './byte-reader.ts'
import { SallyportError } from './errors.ts'
import {
  parseSshPublicKey,
  readSshKeyFields,
  requireSshKeyType,
  sshPublicKeyBytesMax,
  type SshKeyType,
  type SshPublicKey,
} from './ssh-public-key.ts'
import { unwrapSshSignature, verifySshSignature } from './ssh-signature.ts'
import { readSshString, readSshText, readSshU64, requireSshEnd } from './ssh-wire.ts'

/** An OpenSSH certificate as it was read (PROTOCOL.certkeys). Reading is not verifying. */
export interface SshCertificate {
  readonly kind: 'user' | 'host'
  /** The key that it is for: whoever shows the certificate signs with this one. `blob` is the certificate's. */
  readonly subject: Omit<SshPublicKey, 'blob'>
  readonly serial: bigint
  readonly keyId: string
  readonly principals: readonly string[]
  /** Unix seconds: from the first to just before the second. */
  readonly validAfter: bigint
  readonly validBefore: bigint
  /** Names in order, each once; values as they stand. */
  readonly criticalOptions: ReadonlyMap<string, Buffer>
  readonly extensions: ReadonlyMap<string, Buffer>
  /** The authority's key. */
  readonly authority: Buffer
  /** What the authority has signed, and its signature in its wrapping. */
  readonly signed: Buffer
  readonly signature: Buffer
}

/** Ours have some 500 bytes; an RSA key under an RSA authority some 2,500. */
export const sshCertificateBytesMax = 8_192
const suffix = '-cert-v01@openssh.com'
const keyIdBytesMax = 1_024
const principalsMax = 64
const optionsMax = 32

/** Whether a blob says that it is a certificate; it may still be none. */
export function isSshCertificate(blob: Buffer): boolean {
  if (blob.length < 4) return false
  const length = blob.readUInt32BE(0)
  return length <= 64 && blob.toString('latin1', 4, 4 + length).endsWith(suffix)
}

/** `ssh-ed25519-cert-v01@openssh.com` for `ssh-ed25519`. Keys in hardware carry the domain only once. */
export function sshCertificateType(type: SshKeyType): string {
  return `${type.replace(/@openssh\.com$/, '')}${suffix}`
}

/**
 * Reads a certificate from a stranger.
 * @throws SallyportError `protocol-violation` for anything but exactly one certificate in its one form.
 */
export function parseSshCertificate(blob: Buffer): SshCertificate {
  if (blob.length > sshCertificateBytesMax) throw refused('it is too long')
  const reader = new ByteReader(blob)
  const type = baseOf(readSshText(reader, 64))
  readSshString(reader, 256) // a nonce
  const subject = { type, ...readSshKeyFields(type, reader) }
  const serial = readSshU64(reader)
  const kind = reader.u32()
  if (kind !== 1 && kind !== 2) throw refused(`its kind is ${kind}, which is neither user nor host`)
  const keyId = utf8(readSshString(reader, keyIdBytesMax))
  const principals = readPrincipals(readSshString(reader, sshCertificateBytesMax))
  const validAfter = readSshU64(reader)
  const validBefore = readSshU64(reader)
  const criticalOptions = readOptions(readSshString(reader, sshCertificateBytesMax))
  const extensions = readOptions(readSshString(reader, sshCertificateBytesMax))
  if (readSshString(reader, 0).length > 0) throw refused('a reserved field is not empty')
  const authority = readSshString(reader, sshPublicKeyBytesMax)
  const signed = blob.subarray(0, reader.offset)
  const signature = readSshString(reader, sshPublicKeyBytesMax)
  requireSshEnd(reader)
  return {
    ...{ kind: kind === 1 ? 'user' : 'host', subject, serial, keyId, principals },
    ...{ validAfter, validBefore, criticalOptions, extensions, authority, signed, signature },
  }
}

/** Whether one of `authorities` (blobs of keys) has signed the certificate. Never throws. */
export function isSignedByAuthority(
  certificate: SshCertificate,
  authorities: readonly Buffer[],
): boolean {
  const trusted = authorities.find((blob) => blob.equals(certificate.authority))
  if (trusted === undefined) return false
  try {
    const publicKey = parseSshPublicKey(trusted)
    const given = unwrapSshSignature(certificate.signature)
    return verifySshSignature({ publicKey, ...given, signed: certificate.signed })
  } catch {
    return false
  }
}

/** `early`, `late`, or neither at this moment (Unix milliseconds). */
export function sshCertificateMoment(
  { validAfter, validBefore }: Pick<SshCertificate, 'validAfter' | 'validBefore'>,
  atMs: number,
): 'valid' | 'early' | 'late' {
  const at = BigInt(Math.floor(atMs / 1000))
  if (at < validAfter) return 'early'
  return at < validBefore ? 'valid' : 'late'
}

function baseOf(name: string): SshKeyType {
  if (!name.endsWith(suffix)) throw refused(`${JSON.stringify(name)} is no type of a certificate`)
  const base = name.slice(0, -suffix.length)
  return requireSshKeyType(base.startsWith('sk-') ? `${base}@openssh.com` : base)
}

function readPrincipals(bytes: Buffer): string[] {
  const reader = new ByteReader(bytes)
  const principals: string[] = []
  while (reader.remaining > 0) {
    if (principals.length >= principalsMax) throw refused('it has too many principals')
    principals.push(utf8(readSshString(reader, 1_024)))
  }
  return principals
}

/** PROTOCOL.certkeys: ordered by name, each name once. */
function readOptions(bytes: Buffer): Map<string, Buffer> {
  const reader = new ByteReader(bytes)
  const options = new Map<string, Buffer>()
  let last = ''
  while (reader.remaining > 0) {
    const name = readSshText(reader, 128)
    if (options.size >= optionsMax || name <= last) throw refused('its options are not in order')
    options.set(name, readSshString(reader, sshCertificateBytesMax))
    last = name
  }
  return options
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Text that goes into logs and comparisons: no control characters, and nothing that is not UTF-8. */
function utf8(bytes: Buffer): string {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch (error) {
    throw refused('text that is not UTF-8', error)
  }
  if (/\p{Cc}/u.test(text)) throw refused('text with control characters')
  return text
}

function refused(why: string, cause?: unknown): SallyportError {
  return new SallyportError('protocol-violation', `SSH certificate refused: ${why}`, { cause })
}
