import type { Signer } from '../../certs/signer.ts'
import type { SigningKey } from '../api/tokens.ts'

/** A signer as tokens take it. */
export function signingKeyOf(signer: Signer): SigningKey {
  return { kid: signer.kid, alg: signer.algorithm, sign: (data) => signer.sign(data) }
}
