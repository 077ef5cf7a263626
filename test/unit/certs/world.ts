import { generateKeyPairSync, randomUUID, X509Certificate } from 'node:crypto'
import { createAuthority, type Authority, type AuthorityPurpose } from '../../../certs/authority.ts'
import { issuePersonCertificate } from '../../../certs/issue-person.ts'
import { issueProxyCertificate } from '../../../certs/issue-proxy.ts'
import { issueServerCertificate } from '../../../certs/issue-server.ts'
import { createKeySigner } from '../../../certs/key-signer.ts'
import { createKeyAndRequest } from '../../../certs/request.ts'
import type { Clock } from '../../../protocols/kit/clock.ts'
import { createTestClock } from '../../test-clock.ts'

export const hourMs = 3_600_000
export const realm = 'default'

export function newAuthority(
  purpose: AuthorityPurpose,
  clock: Clock,
  more: { demo?: boolean; validForMs?: number; realm?: string } = {},
): Promise<Authority> {
  const signer = createKeySigner(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  return createAuthority({ realm, ...more, purpose, signer, clock })
}

/** One authority per purpose, and how to issue under them. */
export async function createWorld() {
  const clock = createTestClock()
  const people = await newAuthority('people', clock)
  const proxies = await newAuthority('proxies', clock)
  const control = await newAuthority('control', clock)
  const personId = randomUUID()
  const proxyId = randomUUID()
  const { requestPem, privateKeyPem } = await createKeyAndRequest()
  const common = { requestPem, realm, validForMs: hourMs, clock }
  return {
    clock,
    people,
    proxies,
    control,
    personId,
    proxyId,
    requestPem,
    privateKeyPem,
    person: (authority = people) =>
      issuePersonCertificate(authority, { ...common, personId, email: 'dev@example.test' }),
    proxy: (authority = proxies) => issueProxyCertificate(authority, { ...common, proxyId }),
    server: (authority = proxies, uri?: string) =>
      issueServerCertificate(authority, {
        requestPem,
        dnsNames: ['*.access.localhost', 'access.localhost'],
        ipAddresses: ['127.0.0.1'],
        validForMs: hourMs,
        clock,
        ...(uri === undefined ? {} : { uri }),
      }),
  }
}

export function derOf(pem: string): Buffer {
  return new X509Certificate(pem).raw
}
