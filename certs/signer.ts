import type { KeyObject } from 'node:crypto'

/**
 * The only way to a private key that signs. A sealed file holds it by default; a KMS or a PKCS#11 token
 * can stand behind the same three members.
 */
export interface Signer {
  /** Identifies the key: base64url of the SHA-256 of its SubjectPublicKeyInfo. */
  readonly kid: string
  readonly algorithm: 'EdDSA' | 'ES256'
  readonly publicKey: KeyObject
  /** The raw signature: 64 bytes, `r | s` for ES256 (RFC 7518, 3.4). */
  sign(data: Uint8Array): Promise<Uint8Array>
}
