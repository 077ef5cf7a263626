import { createKeyAndRequest } from '../../certs/request.ts'
import { createApiClient } from '../../control/api/client.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { fetchPinnedAuthority } from './fetch-authority.ts'
import { parseJoinToken } from './join-token.ts'
import { requireDemoMatch, writeIdentity, type ProxyIdentity } from './proxy-identity.ts'

export interface JoinOptions {
  readonly controlUrl: string
  /** `sallyport-join.<secret>.<pin>`; one use. */
  readonly token: string
  /** What people call this proxy. */
  readonly name: string
  readonly demo: boolean
  readonly dataDir: string
}

/**
 * Trades a join token for this proxy's certificates and keeps them. The token is sent only to a control that the
 * pin in the token names. Rejects with `join-token-invalid`, `control-unreachable` or `demo-in-production`.
 */
export async function join(options: JoinOptions): Promise<ProxyIdentity> {
  const token = parseJoinToken(options.token)
  const authorityPem = await fetchPinnedAuthority(options.controlUrl, token.pin)
  const [client, server] = await Promise.all([createKeyAndRequest(), createKeyAndRequest()])
  const api = createApiClient({ baseUrl: options.controlUrl, authorityPem })
  try {
    const joined = await api.call('proxyJoin', {
      body: {
        token: token.text,
        name: options.name,
        clientRequestPem: client.requestPem,
        serverRequestPem: server.requestPem,
      },
    })
    if (!joined.controlAuthorityPem.includes(authorityPem.trim())) {
      throw new SallyportError(
        'join-token-invalid',
        'control names an authority that is not pinned',
      )
    }
    requireDemoMatch(joined, options.demo)
    const identity: ProxyIdentity = {
      version: 1,
      ...joined,
      clientKeyPem: client.privateKeyPem,
      serverKeyPem: server.privateKeyPem,
    }
    writeIdentity(options.dataDir, identity)
    return identity
  } finally {
    api.close()
  }
}
