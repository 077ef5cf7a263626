import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { seal, unseal } from '../protocols/kit/sealed-file.ts'
import { createKeySigner } from './key-signer.ts'
import type { Signer } from './signer.ts'

/** A new signing key, and the form of it that may be kept in a file or a row. */
export interface SealedSigner {
  readonly signer: Signer
  /** PKCS #8, sealed. */
  readonly sealed: Buffer
}

/**
 * Makes a signing key. Its private half leaves this module only sealed, and as signatures.
 * @param options.label what it is sealed as, given its key id: opened as anything else it does not open.
 */
export function createSealedSigner(options: {
  sealingKey: Buffer
  algorithm: Signer['algorithm']
  label: (kid: string) => string
}): SealedSigner {
  const privateKey = generatePrivateKey(options.algorithm)
  const signer = createKeySigner(privateKey)
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  const sealed = seal(options.sealingKey, der, options.label(signer.kid))
  der.fill(0)
  return { signer, sealed }
}

/**
 * Opens what `createSealedSigner` sealed.
 * @throws SallyportError `sealed-file-invalid` for another sealing key, another label or a changed byte.
 */
export function openSealedSigner(options: {
  sealed: Buffer
  sealingKey: Buffer
  label: string
}): Signer {
  const der = unseal(options.sealingKey, options.sealed, options.label)
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
