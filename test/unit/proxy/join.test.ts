import { createHash, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join as joinPath } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { issueProxyCertificate } from '../../../certs/issue-proxy.ts'
import { issueServerCertificate } from '../../../certs/issue-server.ts'
import { createKeyAndRequest } from '../../../certs/request.ts'
import type { Authority } from '../../../certs/authority.ts'
import { systemClock } from '../../../protocols/kit/clock.ts'
import { join } from '../../../proxy/identity/join.ts'
import {
  identityFile,
  readIdentity,
  requireDemoMatch,
} from '../../../proxy/identity/proxy-identity.ts'
import { startRenewal } from '../../../proxy/identity/renewal.ts'
import { proxyId, silentLog, turns } from '../../fakes/proxy-world.ts'
import { createTestClock } from '../../test-clock.ts'
import { newAuthority } from '../certs/world.ts'

let directory: string
let server: Server
let authority: Authority
let url: string
const bodies: string[] = []
let demo = false

const pinOf = (pem: string): Buffer =>
  createHash('sha256').update(new X509Certificate(pem).raw).digest()
const tokenFor = (pin: Buffer, form: 'hex' | 'base64url' = 'hex'): string =>
  `sallyport-join.${'s'.repeat(32)}.${pin.toString(form)}`

beforeEach(async () => {
  directory = mkdtempSync(joinPath(tmpdir(), 'join-'))
  bodies.length = 0
  demo = false
  authority = await newAuthority('control', systemClock)
  const proxies = await newAuthority('proxies', systemClock)
  const serving = await createKeyAndRequest()
  const issued = await issueServerCertificate(authority, {
    requestPem: serving.requestPem,
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    validForMs: 3_600_000,
    clock: systemClock,
  })
  const answer = async (body: string): Promise<object> => {
    const { clientRequestPem, serverRequestPem } = JSON.parse(body) as Record<string, string>
    const common = { validForMs: 3_600_000, clock: systemClock }
    const client = await issueProxyCertificate(proxies, {
      ...common,
      requestPem: clientRequestPem!,
      realm: 'default',
      proxyId,
    })
    const wildcard = await issueServerCertificate(proxies, {
      ...common,
      requestPem: serverRequestPem!,
      dnsNames: ['*.access.test', 'access.test'],
    })
    return {
      proxyId,
      realm: 'default',
      group: 'default',
      domain: 'access.test',
      clientCertificatePem: client.certificatePem,
      serverCertificatePem: wildcard.certificatePem,
      controlAuthorityPem: authority.certificatePem,
      peopleAuthoritiesPem: authority.certificatePem,
      demo,
    }
  }
  server = createServer(
    { key: serving.privateKeyPem, cert: issued.certificatePem + authority.certificatePem },
    (request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => {
        bodies.push(body)
        void answer(body).then((joined) => response.end(JSON.stringify(joined)))
      })
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  rmSync(directory, { recursive: true, force: true })
})

const options = (token: string) => ({
  controlUrl: url,
  token,
  name: 'test',
  demo: false,
  dataDir: directory,
})

describe('joining', () => {
  it.each(['hex', 'base64url'] as const)('keeps a private identity (pin in %s)', async (form) => {
    const identity = await join(options(tokenFor(pinOf(authority.certificatePem), form)))
    expect(identity.proxyId).toBe(proxyId)
    expect(readIdentity(directory)).toEqual(identity)
    expect(statSync(identityFile(directory)).mode & 0o777).toBe(0o600)
    expect(statSync(joinPath(directory, 'identity')).mode & 0o777).toBe(0o700)
    // No private key ever went to control.
    expect(bodies.join('')).not.toContain('PRIVATE KEY')
  })

  it('never sends the token to a control that the pin does not name', async () => {
    const other = await newAuthority('control', systemClock)
    await expect(join(options(tokenFor(pinOf(other.certificatePem))))).rejects.toMatchObject({
      code: 'join-token-invalid',
    })
    // Nor does the leaf itself count as its authority.
    expect(bodies).toEqual([])
    expect(readIdentity(directory)).toBeUndefined()
  })

  it.each(['', 'sallyport-join.short.00', `sallyport-join.${'s'.repeat(32)}.zz`])(
    'refuses what is no token: %j',
    async (token) => {
      await expect(join(options(token))).rejects.toMatchObject({ code: 'join-token-invalid' })
    },
  )

  it('a demo is refused by a real proxy, and the other way round', async () => {
    demo = true
    await expect(join(options(tokenFor(pinOf(authority.certificatePem))))).rejects.toMatchObject({
      code: 'demo-in-production',
    })
    expect(readIdentity(directory)).toBeUndefined()
    expect(() => requireDemoMatch({ demo: false }, true)).toThrow(
      expect.objectContaining({ code: 'demo-in-production' }),
    )
  })

  it('says that control cannot be reached', async () => {
    await expect(
      join({ ...options(tokenFor(Buffer.alloc(32))), controlUrl: 'https://127.0.0.1:1' }),
    ).rejects.toMatchObject({ code: 'control-unreachable' })
  })

  it('refuses an identity that others can read, or that is damaged', async () => {
    await join(options(tokenFor(pinOf(authority.certificatePem))))
    const path = identityFile(directory)
    const text = readFileSync(path, 'utf8')
    writeFileSync(path, text.slice(0, -10))
    expect(() => readIdentity(directory)).toThrow(
      expect.objectContaining({ code: 'config-invalid' }),
    )
    rmSync(path)
    writeFileSync(path, text, { mode: 0o644 })
    expect(() => readIdentity(directory)).toThrow(
      expect.objectContaining({ code: 'config-invalid' }),
    )
  })

  it('renews with new keys when two thirds have passed, and tries again after a failure', async () => {
    let identity = await join(options(tokenFor(pinOf(authority.certificatePem))))
    const before = identity
    const clock = createTestClock(systemClock.wallMs())
    let attempts = 0
    const stop = startRenewal({
      identity: () => identity,
      api: () =>
        ({
          call: (_name: string, { body }: { body: Record<string, string> }) => {
            attempts += 1
            if (attempts === 1) return Promise.reject(new Error('away'))
            expect(body['clientRequestPem']).toContain('CERTIFICATE REQUEST')
            const { clientKeyPem: _client, serverKeyPem: _server, version: _, ...joined } = before
            return Promise.resolve(joined)
          },
          close() {},
        }) as never,
      renewed: (next) => (identity = next),
      clock,
      log: silentLog,
    })
    clock.advance(1_800_000)
    await turns()
    expect(attempts).toBe(0)
    clock.advance(1_200_000)
    await expect.poll(() => attempts).toBe(1)
    await turns()
    clock.advance(400_000)
    await expect.poll(() => identity !== before).toBe(true)
    expect(identity.clientKeyPem).not.toBe(before.clientKeyPem)
    stop()
    expect(clock.pendingTimers).toBe(0)
  })
})
