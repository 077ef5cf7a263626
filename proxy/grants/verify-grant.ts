import { createPublicKey, type KeyObject } from 'node:crypto'
import { decodeProtectedHeader } from 'jose'
import { verifyToken, type VerificationKeys } from '../../control/api/tokens.ts'
import type { HeldGrant } from './grant-cache.ts'

export interface TokenKeys {
  /** All keys that count from now on, SPKI in PEM. Throws for one that is no Ed25519 key. */
  replace(keys: readonly { kid: string; publicKeyPem: string }[]): void
  has(kid: string): boolean
  readonly find: VerificationKeys
}

/** The public keys that sign grants and leases. */
export function createTokenKeys(): TokenKeys {
  let known = new Map<string, KeyObject>()
  return {
    replace(keys) {
      const next = new Map<string, KeyObject>()
      for (const { kid, publicKeyPem } of keys) {
        const key = createPublicKey(publicKeyPem)
        // Proxies sign with P-256: a grant must never verify under a key of that kind (RFC 8725, 3.1).
        if (key.asymmetricKeyType !== 'ed25519') throw new Error(`key ${kid} is not Ed25519`)
        next.set(kid, key)
      }
      known = next
    },
    has: (kid) => known.has(kid),
    find(kid) {
      const key = known.get(kid)
      if (key === undefined) throw new Error(`unknown key ${kid}`)
      return key
    },
  }
}

/** The verified grant of a token. Rejects with `evidence-invalid`; says nothing about its end. */
export async function verifyGrant(token: string, keys: TokenKeys): Promise<HeldGrant> {
  const claims = await verifyToken('grant', token, keys.find)
  return { claims, token, kid: String(decodeProtectedHeader(token).kid) }
}
