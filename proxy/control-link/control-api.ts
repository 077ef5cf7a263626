/** What the proxy asks of control over HTTPS, with the certificate that it has at the moment. */
import { createApiClient, type ApiClient } from '../../control/api/client.ts'
import type { ProxyIdentity } from '../identity/proxy-identity.ts'
import type { CertifySession } from '../sessions/credentials.ts'

export interface ControlApi {
  readonly api: () => ApiClient
  /** For those who wait long: not on the connections that everything else is asked over. */
  readonly waitingApi: () => ApiClient
  readonly certifySession: CertifySession
  readonly certifyHost: (name: string, publicKey: Buffer) => Promise<Buffer>
  /** From here on with the new certificate. */
  renew(identity: ProxyIdentity): void
  close(): void
}

export interface ControlApiOptions {
  readonly controlUrl: string
  readonly identity: ProxyIdentity
  /** Who may wait long at the same time. */
  readonly waitingMax: number
}

export function createControlApi(options: ControlApiOptions): ControlApi {
  const open = (identity: ProxyIdentity, socketsMax?: number): ApiClient =>
    createApiClient({
      baseUrl: options.controlUrl,
      authorityPem: identity.controlAuthorityPem,
      certificatePem: identity.clientCertificatePem,
      privateKeyPem: identity.clientKeyPem,
      ...(socketsMax === undefined ? {} : { socketsMax }),
    })
  const openBoth = (identity: ProxyIdentity) =>
    [open(identity), open(identity, options.waitingMax)] as const
  let [api, waitingApi] = openBoth(options.identity)
  const close = (): void => {
    api.close()
    waitingApi.close()
  }
  return {
    api: () => api,
    waitingApi: () => waitingApi,
    async certifySession({ publicKey, ...question }) {
      const body = { ...question, publicKey: publicKey.toString('base64') }
      const { certificate } = await api.call('proxySshSession', { body })
      return Buffer.from(certificate, 'base64')
    },
    async certifyHost(name, publicKey) {
      const body = { name, publicKey: publicKey.toString('base64') }
      const { certificate } = await api.call('proxySshHost', { body })
      return Buffer.from(certificate, 'base64')
    },
    renew(identity) {
      close()
      const renewed = openBoth(identity)
      api = renewed[0]
      waitingApi = renewed[1]
    },
    close,
  }
}
