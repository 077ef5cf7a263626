import type { Clock } from '../protocols/kit/clock.ts'
import { identityUri } from './identity-uri.ts'
import { personValidForMsMax } from './issue-person.ts'
import { signSshCertificate, type IssuedSsh } from './sign-ssh-certificate.ts'
import type { SshAuthority } from './ssh-authority.ts'

/**
 * Issues the certificate that a person logs in to the proxies with. Its one principal is the person's identity URI, which is no account
 * of any server, and it has no extensions: a server that trusted this authority by mistake would give it nothing. The key id is the
 * person's e-mail address.
 * @throws SallyportError `request-invalid` for a bad key or validity, `config-invalid` for an authority of another purpose.
 */
export async function issueSshPersonCertificate(
  authority: SshAuthority,
  options: {
    /** Blob. */
    publicKey: Buffer
    realm: string
    /** UUID. */
    personId: string
    email: string
    validForMs: number
    clock: Clock
    demo: boolean
    /** Begin after this moment (Unix milliseconds). */
    beginsAfterMs?: number
    /** End by this moment (Unix milliseconds). */
    endsByMs?: number
    /** Only from these: addresses and CIDR blocks, separated by commas. */
    sourceAddress?: string
  },
): Promise<IssuedSsh> {
  const { realm, personId, email, sourceAddress, ...rest } = options
  return signSshCertificate(authority, 'ssh-people', {
    ...rest,
    kind: 'user',
    keyId: email,
    principals: [identityUri({ realm, kind: 'person', id: personId })],
    ...(sourceAddress === undefined
      ? {}
      : { criticalOptions: { 'source-address': sourceAddress } }),
    validForMsMax: personValidForMsMax,
  })
}
