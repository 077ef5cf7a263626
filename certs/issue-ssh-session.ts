import type { Clock } from '../protocols/kit/clock.ts'
import { signSshCertificate, type IssuedSsh } from './sign-ssh-certificate.ts'
import type { SshAuthority } from './ssh-authority.ts'

/** The server looks at it once, at the login. */
export const sshSessionValidForMsMax = 5 * 60_000

/** What a server's sshd lets the session do; what is not named is off. */
export type SshPermission = 'permit-pty' | 'permit-port-forwarding' | 'permit-agent-forwarding'

/**
 * Issues the certificate with which a proxy logs in to one server for one session. It is good for one account and from the proxy's
 * addresses only, and its key id says in the server's own log who it was.
 * @throws SallyportError `request-invalid` for a bad key or validity, `config-invalid` for an authority of another purpose.
 */
export async function issueSshSessionCertificate(
  authority: SshAuthority,
  options: {
    /** Blob of the key that the proxy made for the session. */
    publicKey: Buffer
    account: string
    sessionId: string
    grantId: string
    personEmail: string
    /** Addresses and CIDR blocks; at least one. */
    sourceAddresses: readonly string[]
    permissions: readonly SshPermission[]
    validForMs: number
    clock: Clock
    demo: boolean
  },
): Promise<IssuedSsh> {
  const { account, sessionId, grantId, personEmail, sourceAddresses, permissions, ...rest } =
    options
  return signSshCertificate(authority, 'ssh-upstream', {
    ...rest,
    kind: 'user',
    keyId: `sallyport person=${personEmail} session=${sessionId} grant=${grantId}`,
    principals: [account],
    criticalOptions: { 'source-address': sourceAddresses.join(',') },
    extensions: permissions,
    validForMsMax: sshSessionValidForMsMax,
  })
}
