/** A real proxy at a real control: that apps find its key where they look for it, as soon as control is there. */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { completeConfig } from '../../proxy/config.ts'
import { loadAssertionKeys } from '../../proxy/identity/assertion-keys.ts'
import { startProxy, type RunningProxy } from '../../proxy/start-proxy.ts'
import { eventually } from '../demo-site.ts'
import { silentLog } from '../fakes/proxy-world.ts'
import { startTestControl, type RunningSite, type TestPerson } from './running-control.ts'

let site: RunningSite
let directory: string
let proxy: RunningProxy

let upstream: Server
/** What the app was asked. */
const seen: IncomingMessage['headers'][] = []
let dev: TestPerson

beforeAll(async () => {
  upstream = createServer((request, response) => {
    seen.push(request.headers)
    response.end('hello')
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  const { port } = upstream.address() as AddressInfo
  directory = mkdtempSync(join(tmpdir(), 'apps-proxy-'))
  site = await startTestControl()
  const { token } = await site.admin.call('joinToken', { params: { name: 'default' } })
  const joinTokenFile = join(directory, 'join')
  writeFileSync(joinTokenFile, token, { mode: 0o600 })
  const policyFile = join(directory, 'policy.yaml')
  writeFileSync(
    policyFile,
    `secrets: [{ reference: "none:wiki", addresses: ["127.0.0.1:${port}"], tls: disable }]`,
  )
  dev = await site.addSignedIn('dev@example.test', ['engineer'])
  await site.admin.call('resourcesApply', {
    body: {
      file: {
        resources: [
          {
            ...{ name: 'wiki', protocol: 'http', address: { host: '127.0.0.1', port } },
            ...{ tls: { mode: 'disable' }, http: {} },
            levels: { read: { account: 'wiki', secret: 'none:wiki' } },
          },
        ],
      },
    },
  })
  await site.admin.call('grantMake', {
    body: {
      person: 'dev@example.test',
      resource: 'wiki',
      level: 'read',
      forMs: 3_600_000,
      reason: 'x',
    },
  })
  proxy = await startProxy({
    config: completeConfig({
      ...{ dataDir: join(directory, 'data'), controlUrl: site.running.url, joinTokenFile },
      policyFile,
      listen: { http: '127.0.0.1:0' },
    }),
    log: silentLog,
  })
  await proxy.ready()
})
afterAll(async () => {
  await proxy?.stop(0)
  await site?.close()
  upstream?.close()
  rmSync(directory, { recursive: true, force: true })
})

test('the key with which a proxy signs is published', async () => {
  const { kid, publicKey } = loadAssertionKeys(join(directory, 'data'))
  const keys = await eventually(
    async () => {
      const { body } = await site.ask({}, 'GET', '/.well-known/jwks.json')
      return body['keys'] as unknown[]
    },
    ({ length }) => length > 0,
  )
  expect(keys).toEqual([{ ...publicKey, kid, use: 'sig', alg: 'ES256' }])
})

const get = (token: string): Promise<{ status: number | undefined; text: string }> =>
  new Promise((resolve, reject) => {
    const host = `wiki.${proxy.domain}`
    const outgoing = request(
      {
        ...{ host: '127.0.0.1', port: proxy.ports.http, servername: host, path: '/', agent: false },
        ca: site.running.control.keys.authorities.proxies.certificatePem,
        headers: { host: `${host}:${proxy.ports.http}`, authorization: `Bearer ${token}` },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () =>
          resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() }),
        )
      },
    )
    outgoing.on('error', reject)
    outgoing.end()
  })

test('an API token reaches an app until it is revoked, and the app can verify who asks', async () => {
  const body = { name: 'a test', scope: 'apps', forMs: 3_600_000 } as const
  const { id, token } = await dev.api.call('tokenMake', { body })
  expect(await get(token)).toEqual({ status: 200, text: 'hello' })
  expect(await get(token)).toEqual({ status: 200, text: 'hello' })
  expect(proxy.sessions).toBe(1)
  expect(JSON.stringify(seen)).not.toMatch(token)
  const { body: keys } = await site.ask({}, 'GET', '/.well-known/jwks.json')
  const jwks = createLocalJWKSet(keys as unknown as JSONWebKeySet)
  const audience = `https://wiki.${proxy.domain}`
  const assertion = String(seen[0]!['sallyport-assertion'])
  const { payload } = await jwtVerify(assertion, jwks, { audience })
  expect(payload).toMatchObject({ sub: dev.person.id, email: 'dev@example.test', level: 'read' })

  await dev.api.call('tokenRevoke', { params: { id }, body: { reason: 'a test' } })
  await eventually(
    () => proxy.sessions,
    (sessions) => sessions === 0,
  )
  expect((await get(token)).status).not.toBe(200)
  expect(seen).toHaveLength(2)
})
