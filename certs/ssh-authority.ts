import { encodeSshPublicKey } from '../protocols/kit/ssh-public-key.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import type { Signer } from './signer.ts'

/**
 * What an authority of SSH is trusted for. Each purpose has a key of its own, and that is all that keeps them apart, for OpenSSH knows an
 * authority by its key alone: `ssh-people` signs what people log in to the proxies with, `ssh-hosts` what the proxies show, and
 * `ssh-upstream`, which servers trust, one certificate for each session.
 */
export const sshAuthorityPurposes = ['ssh-people', 'ssh-hosts', 'ssh-upstream'] as const
export type SshAuthorityPurpose = (typeof sshAuthorityPurposes)[number]

export interface SshAuthority {
  readonly purpose: SshAuthorityPurpose
  /** Its key's blob (RFC 4253, 6.6). */
  readonly publicKey: Buffer
  readonly signer: Signer
}

/**
 * An authority is a key and what it is for.
 * @throws SallyportError `config-invalid` for a key that is not Ed25519.
 */
export function openSshAuthority(purpose: SshAuthorityPurpose, signer: Signer): SshAuthority {
  if (signer.algorithm !== 'EdDSA') {
    throw new SallyportError('config-invalid', `the authority ${purpose} needs an Ed25519 key`)
  }
  return { purpose, publicKey: encodeSshPublicKey(signer.publicKey), signer }
}
