import { generateKeyPair, randomBytes, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { encodeSshPublicKey, sshPublicKeyLine } from '../protocols/kit/ssh-public-key.ts'
import { sshString, sshU32 } from '../protocols/kit/ssh-wire.ts'

export interface NewSshKey {
  /** The content of an id_ed25519 file, without a passphrase. */
  readonly privateKey: string
  /** `type base64`. */
  readonly publicKey: string
}

const magic = 'openssh-key-v1\0'
/** That of the cipher "none" (PROTOCOL.key): OpenSSH refuses a file whose padding is of another. */
const blockBytes = 8
const lineCharacters = 70

/** Makes an Ed25519 key in the form that OpenSSH keeps and reads (PROTOCOL.key); it reads PKCS #8 of no Ed25519 key. */
export async function createSshKey(): Promise<NewSshKey> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)('ed25519')
  const blob = encodeSshPublicKey(publicKey)
  return { privateKey: armor(formatPrivate(privateKey, blob)), publicKey: sshPublicKeyLine(blob) }
}

function formatPrivate(privateKey: KeyObject, blob: Buffer): Buffer {
  const { d, x } = privateKey.export({ format: 'jwk' })
  const [seed, point] = [d, x].map((text) => Buffer.from(text ?? '', 'base64url'))
  // Twice the same, by which a reader knows that it deciphered well.
  const check = randomBytes(4)
  const secret = [
    ...[check, check, sshString('ssh-ed25519'), sshString(point!)],
    ...[sshString(Buffer.concat([seed!, point!])), sshString('')],
  ]
  const bytes = secret.reduce((sum, { length }) => sum + length, 0)
  const padding = Buffer.from(
    Array.from({ length: (blockBytes - (bytes % blockBytes)) % blockBytes }, (_, at) => at + 1),
  )
  return Buffer.concat([
    ...[Buffer.from(magic), sshString('none'), sshString('none'), sshString(''), sshU32(1)],
    ...[sshString(blob), sshString(Buffer.concat([...secret, padding]))],
  ])
}

function armor(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(new RegExp(`.{1,${lineCharacters}}`, 'g')) ?? []
  const label = 'OPENSSH PRIVATE KEY'
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}
