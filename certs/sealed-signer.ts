import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SallyportError } from '../protocols/kit/errors.ts'
import { seal, unseal } from '../protocols/kit/sealed-file.ts'
import { createPrivateFile, readPrivateFile } from './key-file.ts'
import { createKeySigner } from './key-signer.ts'
import type { Signer } from './signer.ts'

/** What the bytes are sealed as: no other sealed file opens as a signing key. */
const label = 'sallyport signing key'

/**
 * Makes a key and keeps it sealed in `file` (0600, PKCS #8 inside). The private key leaves this module only as signatures.
 * @throws SallyportError `conflict` if the file exists: a signing key is never replaced by accident.
 */
export async function createSealedSigner(options: {
  file: string
  sealingKey: Buffer
  algorithm: Signer['algorithm']
}): Promise<Signer> {
  const privateKey = generatePrivateKey(options.algorithm)
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  const sealed = seal(options.sealingKey, der, label)
  der.fill(0)
  if (!createPrivateFile(options.file, sealed)) {
    throw new SallyportError('conflict', `${options.file} exists; a signing key is not overwritten`)
  }
  return createKeySigner(privateKey)
}

/**
 * Opens the key that `createSealedSigner` kept.
 * @throws SallyportError `config-invalid` if the file is missing or readable by others, `sealed-file-invalid` if it was sealed
 *   with another key or changed.
 */
export async function openSealedSigner(options: {
  file: string
  sealingKey: Buffer
}): Promise<Signer> {
  const der = unseal(options.sealingKey, readPrivateFile(options.file), label)
  try {
    return createKeySigner(createPrivateKey({ key: der, type: 'pkcs8', format: 'der' }))
  } finally {
    der.fill(0)
  }
}

function generatePrivateKey(algorithm: Signer['algorithm']): KeyObject {
  return algorithm === 'EdDSA'
    ? generateKeyPairSync('ed25519').privateKey
    : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}
