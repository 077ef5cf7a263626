import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { ByteReader } from './byte-reader.ts'
import { SallyportError } from './errors.ts'
import {
  readSshInteger,
  readSshString,
  readSshText,
  requireSshEnd,
  sshInteger,
  sshString,
} from './ssh-wire.ts'

/** Types of keys that we take. DSA, RSA below 2048 bits and everything unknown are refused. */
export const sshKeyTypes = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
] as const
export type SshKeyType = (typeof sshKeyTypes)[number]

export interface SshPublicKey {
  readonly type: SshKeyType
  /** The whole key (RFC 4253, 6.6): what compares, and what a fingerprint is of. */
  readonly blob: Buffer
  readonly key: KeyObject
  /** Of a key in hardware (`sk-…`): what it was made for, usually `ssh:`. */
  readonly application?: string
}

/** The longest RSA key has some 1,050 bytes (8192 bits). */
export const sshPublicKeyBytesMax = 2_048
const rsaBits = { min: 2048, max: 8192 }
const applicationBytesMax = 255
const curves = {
  nistp256: { crv: 'P-256', bytes: 32 },
  nistp384: { crv: 'P-384', bytes: 48 },
  nistp521: { crv: 'P-521', bytes: 66 },
} as const

/**
 * Reads a public key from a stranger.
 * @throws SallyportError `protocol-violation` for anything but exactly one key that we take.
 */
export function parseSshPublicKey(blob: Buffer): SshPublicKey {
  if (blob.length > sshPublicKeyBytesMax) throw refused('it is too long')
  const reader = new ByteReader(blob)
  const type = requireSshKeyType(readSshText(reader, 64))
  const fields = readSshKeyFields(type, reader)
  requireSshEnd(reader)
  return { type, blob, ...fields }
}

export function requireSshKeyType(name: string): SshKeyType {
  const type = sshKeyTypes.find((known) => known === name)
  if (type === undefined) throw refused(`${JSON.stringify(name)} is no type that is taken here`)
  return type
}

/** The fields that follow the type, in a key as in a certificate. */
export function readSshKeyFields(
  type: SshKeyType,
  reader: ByteReader,
): Pick<SshPublicKey, 'key' | 'application'> {
  switch (type) {
    case 'ssh-ed25519':
      return { key: readEd25519(reader) }
    case 'sk-ssh-ed25519@openssh.com':
      return { key: readEd25519(reader), application: readApplication(reader) }
    case 'sk-ecdsa-sha2-nistp256@openssh.com':
      return { key: readPoint('nistp256', reader), application: readApplication(reader) }
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521':
      return { key: readPoint(type.slice(-8) as keyof typeof curves, reader) }
    case 'ssh-rsa':
      return { key: readRsa(reader) }
  }
}

/** `SHA256:` and the unpadded base64 of the SHA-256 of the blob, as ssh-keygen -l prints it. */
export function sshFingerprint(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`
}

/** `type base64`, as in an id_*.pub file, without a comment. Takes keys and certificates. */
export function sshPublicKeyLine(blob: Buffer): string {
  const type = readSshText(new ByteReader(blob), 64)
  return `${type} ${blob.toString('base64')}`
}

/**
 * Reads a line of an id_*.pub file; a comment may follow.
 * @throws SallyportError `protocol-violation`
 */
export function parseSshPublicKeyLine(line: string): SshPublicKey {
  const [, type, base64] = /^(\S{1,64}) ([A-Za-z0-9+/]{1,4096}={0,2})(?:[ \t]|$)/.exec(line) ?? []
  if (type === undefined || base64 === undefined) throw refused('it is not a line of a .pub file')
  const key = parseSshPublicKey(Buffer.from(base64, 'base64'))
  if (key.type !== type) throw refused(`it says ${type} and holds ${key.type}`)
  return key
}

/** The blob of a key of ours: Ed25519, ECDSA on a NIST curve, or RSA. */
export function encodeSshPublicKey(key: KeyObject): Buffer {
  const jwk = key.export({ format: 'jwk' })
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519') {
    return Buffer.concat([sshString('ssh-ed25519'), sshString(bytesOf(jwk.x))])
  }
  if (jwk.kty === 'RSA') {
    const numbers = [sshInteger(bytesOf(jwk.e)), sshInteger(bytesOf(jwk.n))]
    return Buffer.concat([sshString('ssh-rsa'), ...numbers])
  }
  const curve = Object.entries(curves).find(([, { crv }]) => crv === jwk.crv)?.[0]
  if (curve === undefined) throw refused(`keys of ${jwk.crv ?? jwk.kty} have no form in SSH`)
  const point = Buffer.concat([Buffer.of(4), bytesOf(jwk.x), bytesOf(jwk.y)])
  return Buffer.concat([...[sshString(`ecdsa-sha2-${curve}`), sshString(curve), sshString(point)]])
}

function readEd25519(reader: ByteReader): KeyObject {
  const x = readSshString(reader, 32)
  if (x.length !== 32) throw refused('an Ed25519 key has 32 bytes')
  return keyOf({ kty: 'OKP', crv: 'Ed25519', x: textOf(x) })
}

/** RFC 5656, 3.1; the uncompressed form only, which is the only one that OpenSSH writes. */
function readPoint(curve: keyof typeof curves, reader: ByteReader): KeyObject {
  const { crv, bytes } = curves[curve]
  if (readSshText(reader, 16) !== curve) throw refused(`its curve is not ${curve}`)
  const point = readSshString(reader, 1 + 2 * bytes)
  if (point[0] !== 4 || point.length !== 1 + 2 * bytes) throw refused('its point is not whole')
  return keyOf({
    ...{ kty: 'EC', crv },
    ...{ x: textOf(point.subarray(1, 1 + bytes)), y: textOf(point.subarray(1 + bytes)) },
  })
}

function readRsa(reader: ByteReader): KeyObject {
  // A longer exponent only makes our verifying slow.
  const e = readSshInteger(reader, 4)
  const n = readSshInteger(reader, rsaBits.max / 8)
  const bits = n.length * 8 - Math.clz32(n[0]!) + 24
  if (bits < rsaBits.min || bits > rsaBits.max) {
    throw refused(`RSA of ${bits} bits; ${rsaBits.min} to ${rsaBits.max} are taken`)
  }
  if (e.readUIntBE(0, e.length) < 3 || e.at(-1)! % 2 === 0 || n.at(-1)! % 2 === 0) {
    throw refused('numbers that no RSA key has')
  }
  return keyOf({ kty: 'RSA', e: textOf(e), n: textOf(n) })
}

function readApplication(reader: ByteReader): string {
  return readSshText(reader, applicationBytesMax)
}

function keyOf(jwk: JsonWebKey): KeyObject {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch (error) {
    throw refused('its numbers are not those of a key', error)
  }
}

function textOf(bytes: Buffer): string {
  return bytes.toString('base64url')
}

function bytesOf(text: string | undefined): Buffer {
  return Buffer.from(text ?? '', 'base64url')
}

function refused(why: string, cause?: unknown): SallyportError {
  return new SallyportError('protocol-violation', `SSH public key refused: ${why}`, {
    clientMessage: `that SSH public key cannot be used: ${why}`,
    hint: 'make one with: ssh-keygen -t ed25519',
    cause,
  })
}
