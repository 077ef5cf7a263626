/** An OpenID provider that says whatever a test wants: wrong tokens, slow answers, nonsense. */
import { createServer } from 'node:https'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey } from 'jose'
import { createServerCertificate } from '../../deploy/postgres/server-certificate.ts'
import { systemClock } from '../../protocols/kit/clock.ts'

export interface CrookedProvider {
  readonly issuer: string
  readonly authorityPem: string
  /** Changes the claims of the next ID tokens. */
  claims: Record<string, unknown>
  /** `none`: unsigned; `other`: by a key that is not published; `shared`: with the client secret (HS256). */
  signing: 'right' | 'none' | 'other' | 'shared'
  /** What its userinfo endpoint says besides the subject. */
  userinfo: Record<string, unknown>
  /** Answers instead of the usual one, by path. */
  readonly answers: Map<string, (response: ServerResponse) => void>
  /** The token requests that came, as forms. */
  readonly asked: URLSearchParams[]
  close(): Promise<void>
}

export const crookedSecret = 'a-client-secret-of-the-tests-that-is-long-enough'

export async function startCrookedProvider(): Promise<CrookedProvider> {
  const tls = await createServerCertificate(['localhost'], systemClock)
  const [right, other] = await Promise.all([generateKeyPair('ES256'), generateKeyPair('ES256')])
  const jwk = { ...(await exportJWK(right.publicKey)), kid: 'right', alg: 'ES256', use: 'sig' }
  const server = createServer({ cert: tls.certificatePem, key: tls.privateKeyPem })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `https://localhost:${(server.address() as AddressInfo).port}`
  const provider: CrookedProvider = {
    issuer,
    authorityPem: tls.authorityPem,
    claims: {},
    signing: 'right',
    userinfo: {},
    answers: new Map(),
    asked: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const idToken = async (): Promise<string> => {
    const nowSeconds = Math.floor(systemClock.wallMs() / 1_000)
    const claims = {
      ...{ iss: issuer, sub: 'mallory', aud: 'sallyport', iat: nowSeconds, exp: nowSeconds + 300 },
      ...{ email: 'mallory@example.test', email_verified: true, groups: ['engineers'] },
      ...provider.claims,
    }
    if (provider.signing === 'none') return new UnsecuredJWT(claims).encode()
    const [alg, kid, key]: [string, string, CryptoKey | Uint8Array] =
      provider.signing === 'shared'
        ? ['HS256', 'right', Buffer.from(crookedSecret)]
        : ['ES256', 'right', provider.signing === 'right' ? right.privateKey : other.privateKey]
    return new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(key)
  }
  const usual: Record<string, () => Promise<unknown>> = {
    '/.well-known/openid-configuration': () =>
      Promise.resolve({
        issuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/jwks`,
        device_authorization_endpoint: `${issuer}/device`,
        userinfo_endpoint: `${issuer}/userinfo`,
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['ES256'],
      }),
    '/userinfo': () =>
      Promise.resolve({ sub: provider.claims['sub'] ?? 'mallory', ...provider.userinfo }),
    '/jwks': () => Promise.resolve({ keys: [jwk] }),
    '/device': () =>
      Promise.resolve({
        ...{ device_code: 'a-device-code', user_code: 'ABCD-EFGH', expires_in: 600, interval: 1 },
        verification_uri: `${issuer}/go`,
      }),
    '/token': async () => ({
      ...{ access_token: 'access', token_type: 'Bearer', expires_in: 300 },
      id_token: await idToken(),
    }),
  }
  server.on('request', (request, response) => {
    const path = new URL(request.url ?? '/', issuer).pathname
    let body = ''
    request.on('data', (chunk) => (body += String(chunk)))
    request.on('end', () => {
      if (path === '/token') provider.asked.push(new URLSearchParams(body))
      const instead = provider.answers.get(path)
      if (instead !== undefined) {
        instead(response)
        return
      }
      const make = usual[path] ?? (() => Promise.resolve({}))
      void make().then((value) => json(response, 200, value))
    })
  })
  return provider
}

export function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(value))
}
