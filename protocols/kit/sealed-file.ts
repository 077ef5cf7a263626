/**
 * Sealing: bytes that only the holder of a sealing key can read or change (AES-256-GCM, NIST SP 800-38D).
 *
 *     "SPSF" | version 1 | nonce (12) | ciphertext | tag (16)
 *
 * The header and the caller's label are authenticated too, so that what was sealed as one thing never opens as another. Nonces
 * are random: one key may seal some 2^32 times, far more than files of keys and secrets ever need.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { SallyportError } from './errors.ts'
import { createPrivateFile, readPrivateFile } from './private-file.ts'

const header = Buffer.from('SPSF\x01', 'latin1')
const nonceBytes = 12
const tagBytes = 16
export const sealingKeyBytes = 32

/** The sealed form of `plaintext`. `key` has 32 bytes; `label` says what is sealed. */
export function seal(key: Buffer, plaintext: Buffer, label: string): Buffer {
  requireKey(key)
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  cipher.setAAD(authenticated(label))
  const ciphertext = cipher.update(plaintext)
  return Buffer.concat([header, nonce, ciphertext, cipher.final(), cipher.getAuthTag()])
}

/**
 * The plaintext of `sealed`.
 * @throws SallyportError `sealed-file-invalid` for another key, another label, or a changed byte.
 */
export function unseal(key: Buffer, sealed: Buffer, label: string): Buffer {
  requireKey(key)
  const start = header.length + nonceBytes
  if (sealed.length < start + tagBytes || !sealed.subarray(0, header.length).equals(header)) {
    throw new SallyportError('sealed-file-invalid', `${label}: not a sealed file`)
  }
  const nonce = sealed.subarray(header.length, start)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  decipher.setAAD(authenticated(label))
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
  try {
    const plaintext = decipher.update(sealed.subarray(start, sealed.length - tagBytes))
    return Buffer.concat([plaintext, decipher.final()])
  } catch (error) {
    throw new SallyportError(
      'sealed-file-invalid',
      `${label}: sealed with another key or label, or changed since`,
      { cause: error },
    )
  }
}

/**
 * The 32-byte sealing key in the 0600 file at `path`, made if there is none. Two processes that start at once get the
 * same key.
 * @throws SallyportError `config-invalid` if others may read the file, `sealed-file-invalid` if it holds no key.
 */
export function loadOrCreateSealingKey(path: string): Buffer {
  if (!existsSync(path)) createPrivateFile(path, randomBytes(sealingKeyBytes))
  const key = readPrivateFile(path)
  if (key.length !== sealingKeyBytes) {
    throw new SallyportError(
      'sealed-file-invalid',
      `${path} is not a sealing key: it has ${key.length} bytes, not ${sealingKeyBytes}`,
    )
  }
  return key
}

function requireKey(key: Buffer): void {
  if (key.length !== sealingKeyBytes) throw new Error('a sealing key has 32 bytes')
}

function authenticated(label: string): Buffer {
  return Buffer.concat([header, Buffer.from(label)])
}
