import { constants } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { ProxyIdentity } from './identity/proxy-identity.ts'
import { parseCertificate } from './split-pem.ts'

export interface TlsContexts {
  /** The context for a server name of the domain, or for a client that sent none; else undefined. */
  contextFor(serverName: string | undefined): SecureContext | undefined
  /** Certificates were renewed, or authorities of people changed: new connections get a new context. */
  reload(): void
}

export interface TlsContextsOptions {
  readonly domain: string
  readonly identity: () => ProxyIdentity
  /** Named to clients as authorities whose certificates are welcome, so that one with several chooses well. */
  readonly peopleAuthoritiesPem: () => readonly string[]
}

export function createTlsContexts(options: TlsContextsOptions): TlsContexts {
  const domain = options.domain.toLowerCase()
  let context = load(options)
  return {
    contextFor(serverName) {
      // The certificate carries the wildcard, so every name of the domain is answered alike, known or not.
      if (serverName === undefined || serverName === '') return context
      const name = serverName.toLowerCase()
      if (name === domain) return context
      const label = name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1) : '.'
      return label.includes('.') ? undefined : context
    },
    reload() {
      context = load(options)
    },
  }
}

function load(options: TlsContextsOptions): SecureContext {
  const { serverCertificatePem, serverKeyPem } = options.identity()
  const authorities = options.peopleAuthoritiesPem()
  // Parsed here, so that a damaged one is an error now and not at the first handshake.
  for (const pem of authorities) parseCertificate(pem)
  return createSecureContext({
    cert: serverCertificatePem,
    key: serverKeyPem,
    ca: [...authorities],
    minVersion: 'TLSv1.2',
    // A resumed session would bring a certificate that nobody looked at again.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  })
}
