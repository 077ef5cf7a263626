import { createHash, verify, type KeyObject } from 'node:crypto'
import { ByteReader } from './byte-reader.ts'
import { SallyportError } from './errors.ts'
import type { SshPublicKey } from './ssh-public-key.ts'
import { readSshInteger, readSshString, readSshText, requireSshEnd } from './ssh-wire.ts'

export interface SshSignature {
  readonly publicKey: Omit<SshPublicKey, 'blob'>
  /** As the signature names it: `ssh-ed25519`, `rsa-sha2-512`, … */
  readonly algorithm: string
  readonly signed: Buffer
  /**
   * The value, without the wrapping that names the algorithm. Of a key in hardware (`sk-…`, PROTOCOL.u2f of OpenSSH): the value of the
   * inner signature as it stands in its own wrapping, then the byte of flags, then the four of the counter. That is all that follows
   * the inner `string`; see `unwrapSshSignature`.
   */
  readonly signature: Buffer
}

/** An RSA signature of 8192 bits has 1,024 bytes. */
const signatureBytesMax = 2_048
/** Each key has the algorithms that it may sign with. `ssh-rsa` itself is SHA-1, and not among them. */
const rsaHashes: Readonly<Record<string, string>> = {
  'rsa-sha2-256': 'sha256',
  'rsa-sha2-512': 'sha512',
}
/** Flags and counter at the end of a signature by hardware. */
const hardwareBytes = 5
const userPresent = 0x01

/**
 * Whether this key made this signature (RFC 8709, RFC 5656, RFC 8332, PROTOCOL.u2f). A key in hardware must say that somebody touched it.
 * False for everything that is not so, however malformed; never throws.
 */
export function verifySshSignature({
  publicKey,
  algorithm,
  signed,
  signature,
}: SshSignature): boolean {
  try {
    if (signature.length > signatureBytesMax) return false
    const { type, key } = publicKey
    if (type === 'ssh-rsa') {
      const hash = Object.hasOwn(rsaHashes, algorithm) ? rsaHashes[algorithm]! : undefined
      return hash !== undefined && verify(hash, signed, key, padded(signature, bytesOfRsa(key)))
    }
    if (algorithm !== type) return false
    switch (type) {
      case 'ssh-ed25519':
        return verify(null, signed, key, signature)
      case 'ecdsa-sha2-nistp256':
        return verifyEcdsa('sha256', 32, signed, key, signature)
      case 'ecdsa-sha2-nistp384':
        return verifyEcdsa('sha384', 48, signed, key, signature)
      case 'ecdsa-sha2-nistp521':
        return verifyEcdsa('sha512', 66, signed, key, signature)
      case 'sk-ssh-ed25519@openssh.com':
      case 'sk-ecdsa-sha2-nistp256@openssh.com':
        return verifyHardware(publicKey, signed, signature)
    }
  } catch {
    return false
  }
}

/**
 * Takes a signature out of its wrapping: `string algorithm, string value`, and for hardware flags and counter, which are appended to
 * the value.
 * @throws SallyportError `protocol-violation`
 */
export function unwrapSshSignature(wrapped: Buffer): { algorithm: string; signature: Buffer } {
  const reader = new ByteReader(wrapped)
  const algorithm = readSshText(reader, 64)
  const value = readSshString(reader, signatureBytesMax)
  if (!algorithm.startsWith('sk-')) {
    requireSshEnd(reader)
    return { algorithm, signature: value }
  }
  if (reader.remaining !== hardwareBytes) {
    throw new SallyportError('protocol-violation', 'a signature by hardware without its counter')
  }
  return { algorithm, signature: Buffer.concat([value, reader.bytes(hardwareBytes)]) }
}

/** What is signed is not the message but its hash, beside the application's, the flags and the counter. */
function verifyHardware(
  { type, key, application }: SshSignature['publicKey'],
  signed: Buffer,
  signature: Buffer,
): boolean {
  const end = signature.length - hardwareBytes
  if (application === undefined || end < 0) return false
  const proof = signature.subarray(end)
  if ((proof[0]! & userPresent) === 0) return false
  const message = Buffer.concat([sha256(application), proof, sha256(signed)])
  const value = signature.subarray(0, end)
  return type === 'sk-ssh-ed25519@openssh.com'
    ? verify(null, message, key, value)
    : verifyEcdsa('sha256', 32, message, key, value)
}

/** RFC 5656, 3.1.2: `mpint r, mpint s`. */
function verifyEcdsa(
  hash: string,
  bytes: number,
  signed: Buffer,
  key: KeyObject,
  signature: Buffer,
): boolean {
  const reader = new ByteReader(signature)
  const r = padded(readSshInteger(reader, bytes), bytes)
  const s = padded(readSshInteger(reader, bytes), bytes)
  requireSshEnd(reader)
  return verify(hash, signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.concat([r, s]))
}

function bytesOfRsa(key: KeyObject): number {
  return Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8)
}

/** Some signers leave leading zeros out. */
function padded(value: Buffer, bytes: number): Buffer {
  return value.length >= bytes ? value : Buffer.concat([Buffer.alloc(bytes - value.length), value])
}

function sha256(data: string | Buffer): Buffer {
  return createHash('sha256').update(data).digest()
}
