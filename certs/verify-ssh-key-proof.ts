import { createHash } from 'node:crypto'
import { ByteReader } from '../protocols/kit/byte-reader.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import type { SshPublicKey } from '../protocols/kit/ssh-public-key.ts'
import { unwrapSshSignature, verifySshSignature } from '../protocols/kit/ssh-signature.ts'
import { readSshString, readSshText, requireSshEnd, sshString } from '../protocols/kit/ssh-wire.ts'

const armor =
  /^-----BEGIN SSH SIGNATURE-----\s+([A-Za-z0-9+/=\s]{1,8000})-----END SSH SIGNATURE-----\s*$/
const magic = 'SSHSIG'

/**
 * Verifies what `ssh-keygen -Y sign -n NAMESPACE` wrote (PROTOCOL.sshsig): that whoever holds this key has signed this text, for this
 * purpose and no other.
 * @throws SallyportError `request-invalid`
 */
export function verifySshKeyProof(options: {
  publicKey: SshPublicKey
  text: string
  namespace: string
  /** Armored. */
  proof: string
}): void {
  const { publicKey, text, namespace, proof } = options
  const base64 = armor.exec(proof)?.[1]
  if (base64 === undefined) throw refused('it is not an SSH signature')
  let isGood: boolean
  try {
    isGood = verify(Buffer.from(base64, 'base64'), publicKey, text, namespace)
  } catch (error) {
    throw refused('it cannot be read', error)
  }
  if (!isGood) throw refused('it is not this key’s over this text')
}

function verify(blob: Buffer, publicKey: SshPublicKey, text: string, namespace: string): boolean {
  const reader = new ByteReader(blob)
  const isOurs = reader.bytes(magic.length).toString('latin1') === magic && reader.u32() === 1
  const signer = readSshString(reader, 2_048)
  const named = readSshText(reader, 64)
  const reserved = readSshString(reader, 0)
  const hash = readSshText(reader, 16)
  const { algorithm, signature } = unwrapSshSignature(readSshString(reader, 2_048))
  requireSshEnd(reader)
  if (!isOurs || !signer.equals(publicKey.blob) || named !== namespace) return false
  if (hash !== 'sha512' && hash !== 'sha256') return false
  const signed = Buffer.concat([
    Buffer.from(magic),
    sshString(namespace),
    sshString(reserved),
    sshString(hash),
    sshString(createHash(hash).update(text).digest()),
  ])
  return verifySshSignature({ publicKey, algorithm, signature, signed })
}

function refused(why: string, cause?: unknown): SallyportError {
  return new SallyportError('request-invalid', `proof of an SSH key refused: ${why}`, {
    clientMessage: `the proof that you hold this key is not good: ${why}`,
    hint: 'let sally make it: sally ssh-key add FILE',
    cause,
  })
}
