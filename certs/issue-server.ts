import { isIP } from 'node:net'
import type { Clock } from '../protocols/kit/clock.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import type { Authority } from './authority.ts'
import { parseIdentityUri } from './identity-uri.ts'
import { issueLeaf } from './issue-leaf.ts'
import { openRequest } from './request.ts'
import type { Issued } from './sign-certificate.ts'

/** At most 90 days; renewed at two thirds. */
export const serverValidForMsMax = 90 * 86_400_000
const namesMax = 100
/** A host name, or a wildcard for its whole leftmost label (RFC 6125, 6.4.3). */
const dnsName = /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * Issues a server certificate: a proxy's wildcard (`*.<domain>` and `<domain>`, by the authority for proxies) or that of
 * control's API (by the authority for control). It names hosts only, never resources.
 * @throws SallyportError `request-invalid` for a bad request, name or validity, `config-invalid` for an authority for people.
 */
export async function issueServerCertificate(
  authority: Authority,
  options: {
    requestPem: string
    dnsNames: readonly string[]
    ipAddresses?: readonly string[]
    /** The identity of the server, such as `sallyport://default/control/main`. */
    uri?: string
    validForMs: number
    clock: Clock
    demo?: boolean
  },
): Promise<Issued> {
  const { dnsNames, ipAddresses = [], uri } = options
  const bad =
    dnsNames.find((name) => name.length > 253 || !dnsName.test(name)) ??
    ipAddresses.find((address) => isIP(address) === 0) ??
    (uri === undefined || parseIdentityUri(uri) !== undefined ? undefined : uri)
  const count = dnsNames.length + ipAddresses.length
  if (bad !== undefined || count === 0 || count > namesMax) {
    const what = bad === undefined ? `${count} names` : `the name ${JSON.stringify(bad)}`
    throw new SallyportError('request-invalid', `no server certificate for ${what}`)
  }
  return issueLeaf(authority, authority.purpose === 'control' ? 'control' : 'proxies', {
    realm: uri === undefined ? undefined : parseIdentityUri(uri)?.realm,
    // The common name holds 64 characters at most (RFC 5280, appendix A.1); nobody matches it any more.
    commonName: [...dnsNames, ...ipAddresses].find((name) => name.length <= 64) ?? 'server',
    demo: options.demo === true,
    names: [
      ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
      ...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
      ...(uri === undefined ? [] : [{ type: 'url' as const, value: uri }]),
    ],
    usage: 'server',
    publicKey: await openRequest(options.requestPem),
    clock: options.clock,
    validForMs: options.validForMs,
    validForMsMax: serverValidForMsMax,
  })
}
