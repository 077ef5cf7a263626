import type { Clock } from '../protocols/kit/clock.ts'
import type { Authority } from './authority.ts'
import { identityUri } from './identity-uri.ts'
import { issueLeaf } from './issue-leaf.ts'
import { openRequest } from './request.ts'
import type { Issued } from './sign-certificate.ts'

/** At most 90 days; a proxy renews at two thirds of whatever it got. */
export const proxyValidForMsMax = 90 * 86_400_000

/**
 * Issues the client certificate with which a proxy speaks to control.
 * @throws SallyportError `request-invalid` for a bad request or validity, `config-invalid` for an authority of another purpose.
 */
export async function issueProxyCertificate(
  authority: Authority,
  options: {
    requestPem: string
    realm: string
    /** UUID. */
    proxyId: string
    validForMs: number
    clock: Clock
    demo?: boolean
  },
): Promise<Issued> {
  return issueLeaf(authority, 'proxies', {
    realm: options.realm,
    commonName: `proxy ${options.proxyId}`,
    demo: options.demo === true,
    names: [
      {
        type: 'url',
        value: identityUri({ realm: options.realm, kind: 'proxy', id: options.proxyId }),
      },
    ],
    usage: 'client',
    publicKey: await openRequest(options.requestPem),
    clock: options.clock,
    validForMs: options.validForMs,
    validForMsMax: proxyValidForMsMax,
  })
}
