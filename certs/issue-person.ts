import type { Clock } from '../protocols/kit/clock.ts'
import type { Authority } from './authority.ts'
import { identityUri } from './identity-uri.ts'
import { issueLeaf } from './issue-leaf.ts'
import { openRequest } from './request.ts'
import type { Issued } from './sign-certificate.ts'

/** People's certificates are short-lived: at most a week. */
export const personValidForMsMax = 7 * 86_400_000

/**
 * Issues a person's client certificate: the identity in a URI, the e-mail address as common name.
 * @throws SallyportError `request-invalid` for a bad request or validity, `config-invalid` for an authority of another purpose.
 */
export async function issuePersonCertificate(
  authority: Authority,
  options: {
    requestPem: string
    realm: string
    /** UUID. */
    personId: string
    email: string
    validForMs: number
    clock: Clock
    demo?: boolean
    /** Begin after this moment (Unix milliseconds), although certificates usually begin a minute early. */
    beginsAfterMs?: number
    /** End by this moment (Unix milliseconds). */
    endsByMs?: number
  },
): Promise<Issued> {
  return issueLeaf(authority, 'people', {
    realm: options.realm,
    commonName: options.email,
    demo: options.demo === true,
    names: [
      {
        type: 'url',
        value: identityUri({ realm: options.realm, kind: 'person', id: options.personId }),
      },
    ],
    usage: 'client',
    publicKey: await openRequest(options.requestPem),
    clock: options.clock,
    validForMs: options.validForMs,
    validForMsMax: personValidForMsMax,
    ...(options.beginsAfterMs === undefined ? {} : { beginsAfterMs: options.beginsAfterMs }),
    ...(options.endsByMs === undefined ? {} : { endsByMs: options.endsByMs }),
  })
}
