/** SSH keys of every type that we take, which sign as OpenSSH does. Those of hardware are made of software. */
import { createHash, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import {
  encodeSshPublicKey,
  sshPublicKeyLine,
  type SshKeyType,
} from '../../protocols/kit/ssh-public-key.ts'
import { sshInteger, sshString, sshU32 } from '../../protocols/kit/ssh-wire.ts'

export interface SshKey {
  readonly type: SshKeyType
  /** Of keys in hardware, what is inside. */
  readonly privateKey: KeyObject
  readonly publicKey: Buffer
  /** As in an id_*.pub file. */
  readonly line: string
  /** As `verifySshSignature` takes it. */
  sign(data: Buffer, how?: SshSigning): { algorithm: string; signature: Buffer }
  /** In its wrapping, as it goes over the wire. */
  wrap(data: Buffer): Buffer
  /** As `ssh-keygen -Y sign` writes it. */
  prove(text: string, namespace: string): string
}

export interface SshSigning {
  /** For RSA; default rsa-sha2-512. */
  algorithm?: string
  /** For hardware; default 1: somebody touched it. */
  flags?: number
}

const ecdsa: Readonly<Record<string, { curve: string; bytes: number; hash: string }>> = {
  'ecdsa-sha2-nistp256': { curve: 'P-256', bytes: 32, hash: 'sha256' },
  'ecdsa-sha2-nistp384': { curve: 'P-384', bytes: 48, hash: 'sha384' },
  'ecdsa-sha2-nistp521': { curve: 'P-521', bytes: 66, hash: 'sha512' },
}
const hashes: Readonly<Record<string, string>> = {
  'rsa-sha2-256': 'sha256',
  'rsa-sha2-512': 'sha512',
  'ssh-rsa': 'sha1',
}
const application = 'ssh:'

export function createSshKey(type: SshKeyType = 'ssh-ed25519', rsaBits = 2048): SshKey {
  const privateKey = newPrivateKey(type, rsaBits)
  const publicKey = publicKeyOf(type, createPublicKey(privateKey))
  const key: SshKey = {
    type,
    privateKey,
    publicKey,
    line: sshPublicKeyLine(publicKey),
    sign(data, { algorithm = 'rsa-sha2-512', flags = 1 } = {}) {
      if (type === 'ssh-rsa') {
        return { algorithm, signature: sign(hashes[algorithm], data, privateKey) }
      }
      const signature = type.startsWith('sk-')
        ? signByHardware(type, privateKey, data, flags)
        : signPlain(type, privateKey, data)
      return { algorithm: type, signature }
    },
    wrap(data) {
      const { algorithm, signature } = key.sign(data)
      const end = type.startsWith('sk-') ? signature.length - 5 : signature.length
      const value = [sshString(algorithm), sshString(signature.subarray(0, end))]
      return Buffer.concat([...value, signature.subarray(end)])
    },
    prove(text, namespace) {
      const digest = createHash('sha512').update(text).digest()
      const words = [sshString(namespace), sshString(''), sshString('sha512')]
      const signed = Buffer.concat([Buffer.from('SSHSIG'), ...words, sshString(digest)])
      const blob = Buffer.concat([
        ...[Buffer.from('SSHSIG'), sshU32(1), sshString(publicKey), ...words],
        sshString(key.wrap(signed)),
      ])
      const lines = blob.toString('base64').replace(/.{70}/g, '$&\n').trimEnd()
      return `-----BEGIN SSH SIGNATURE-----\n${lines}\n-----END SSH SIGNATURE-----\n`
    },
  }
  return key
}

function newPrivateKey(type: SshKeyType, modulusLength: number): KeyObject {
  if (type === 'ssh-rsa') return generateKeyPairSync('rsa', { modulusLength }).privateKey
  if (type.includes('ed25519')) return generateKeyPairSync('ed25519').privateKey
  const namedCurve = ecdsa[type]?.curve ?? 'P-256'
  return generateKeyPairSync('ec', { namedCurve }).privateKey
}

function publicKeyOf(type: SshKeyType, key: KeyObject): Buffer {
  const plain = encodeSshPublicKey(key)
  if (!type.startsWith('sk-')) return plain
  const fields = plain.subarray(4 + plain.readUInt32BE(0))
  return Buffer.concat([sshString(type), fields, sshString(application)])
}

function signPlain(type: SshKeyType, key: KeyObject, data: Buffer): Buffer {
  const kind = ecdsa[type]
  if (kind === undefined) return sign(null, data, key)
  const raw = sign(kind.hash, data, { key, dsaEncoding: 'ieee-p1363' })
  const [r, s] = [raw.subarray(0, kind.bytes), raw.subarray(kind.bytes)]
  return Buffer.concat([sshInteger(r), sshInteger(s)])
}

function signByHardware(type: SshKeyType, key: KeyObject, data: Buffer, flags: number): Buffer {
  const sha256 = (value: string | Buffer) => createHash('sha256').update(value).digest()
  const proof = Buffer.concat([Buffer.of(flags), sshU32(7)])
  const message = Buffer.concat([sha256(application), proof, sha256(data)])
  const inner = type.includes('ed25519') ? 'ssh-ed25519' : 'ecdsa-sha2-nistp256'
  return Buffer.concat([signPlain(inner, key, message), proof])
}
