import { createHash, createPublicKey, sign, type KeyObject } from 'node:crypto'
import { SallyportError } from '../protocols/kit/errors.ts'
import type { Signer } from './signer.ts'

/**
 * A `Signer` over a private key that this process holds anyway, such as the key of a proxy's client certificate.
 * Takes Ed25519 (`EdDSA`) and P-256 (`ES256`) keys.
 * @throws SallyportError `config-invalid` for any other key.
 */
export function createKeySigner(privateKey: KeyObject): Signer {
  const algorithm = algorithmOf(privateKey)
  const publicKey = createPublicKey(privateKey)
  const digest = algorithm === 'ES256' ? 'sha256' : null
  return {
    kid: keyIdOf(publicKey),
    algorithm,
    publicKey,
    async sign(data) {
      return sign(digest, data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    },
  }
}

/** Identifies a public key: base64url of the SHA-256 of its SubjectPublicKeyInfo. */
export function keyIdOf(publicKey: KeyObject): string {
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('base64url')
}

function algorithmOf(key: KeyObject): Signer['algorithm'] {
  if (key.type === 'private' && key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  if (key.type === 'private' && isP256(key)) return 'ES256'
  throw new SallyportError('config-invalid', 'a signing key must be Ed25519 or ECDSA P-256')
}

/** Whether `key` is an ECDSA key on P-256 (OpenSSL calls the curve prime256v1). */
export function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
}
