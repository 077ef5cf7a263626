import type { Clock } from '../protocols/kit/clock.ts'
import { signSshCertificate, type IssuedSsh } from './sign-ssh-certificate.ts'
import type { SshAuthority } from './ssh-authority.ts'

/** A day: proxies ask for each name when somebody comes for it. */
export const sshHostValidForMsMax = 86_400_000

/**
 * Issues the certificate that a proxy shows for one host name: OpenSSH takes no wildcards here.
 * @throws SallyportError `request-invalid` for a bad key or validity, `config-invalid` for an authority of another purpose.
 */
export async function issueSshHostCertificate(
  authority: SshAuthority,
  options: {
    /** Blob of the proxy's host key. */
    publicKey: Buffer
    /** Lower case. */
    name: string
    proxyId: string
    validForMs: number
    clock: Clock
    demo: boolean
  },
): Promise<IssuedSsh> {
  const { name, proxyId, ...rest } = options
  return signSshCertificate(authority, 'ssh-hosts', {
    ...rest,
    kind: 'host',
    keyId: `proxy ${proxyId}`,
    principals: [name],
    validForMsMax: sshHostValidForMsMax,
  })
}
