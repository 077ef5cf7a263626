import { createPrivateKey } from 'node:crypto'
import { createKeySigner } from '../../certs/key-signer.ts'
import type { Signer } from '../../certs/signer.ts'
import type { ProxyIdentity } from './proxy-identity.ts'

/** Signs checkpoints with the key of the certificate that is in use now. */
export function currentSigner(identity: () => ProxyIdentity): Signer {
  let keyPem = ''
  let signer: Signer
  const present = (): Signer => {
    if (identity().clientKeyPem !== keyPem) {
      keyPem = identity().clientKeyPem
      signer = createKeySigner(createPrivateKey(keyPem))
    }
    return signer
  }
  return {
    get kid() {
      return present().kid
    },
    get algorithm() {
      return present().algorithm
    },
    get publicKey() {
      return present().publicKey
    },
    sign: (data) => present().sign(data),
  }
}
