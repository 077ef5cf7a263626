/** Variables of the environment that undo the verification of TLS for programs that do not say what they want. */
import { createServer, type AddressInfo } from 'node:net'
import { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createApiClient } from '../../control/api/client.ts'
import { createIssuerFetch } from '../../control/login/issuer-fetch.ts'
import { checkProxy } from '../../control/cli/doctor/check-proxy.ts'
import { homeFiles } from '../../control/cli/home.ts'
import { openLink } from '../../proxy/control-link/link.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { makeCertificates } from '../fakes/tls.ts'
import { silentLog } from '../fakes/proxy-world.ts'
import { startTestControl, type RunningSite } from './running-control.ts'

const others = makeCertificates('access.example.test')
let site: RunningSite

beforeAll(async () => {
  site = await startTestControl()
  vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
})
afterAll(async () => {
  vi.unstubAllEnvs()
  others.remove()
  await site.close()
})

test('sally speaks to no control of another authority', async () => {
  const api = createApiClient({ baseUrl: site.running.url, authorityPem: others.caPem })
  await expect(api.call('health')).rejects.toMatchObject({ code: 'control-unreachable' })
  api.close()
})

test('nor does control to an identity provider', async () => {
  const ask = createIssuerFetch(others.caPem)
  const asked = ask(`${site.running.url}/healthz`, {
    method: 'GET',
    headers: {},
    body: undefined,
    redirect: 'manual',
  })
  await expect(asked).rejects.toMatchObject({ code: 'sign-in-unavailable' })
})

test('nor a proxy to control', async () => {
  const proxy = await site.addProxy()
  const lost = Promise.withResolvers<string>()
  const hello = vi.fn()
  const link = openLink({
    controlUrl: site.running.url,
    tls: () => ({ ...proxy, authorityPem: others.caPem }),
    hello: () => {
      hello()
      return Promise.resolve({ kind: 'hello', cursor: 0, version: 'test', bootEpoch: 'x' })
    },
    onMessage: () => {},
    onLost: lost.resolve,
    onState: (state) => {
      if (state === 'up') lost.resolve('it was up')
    },
    clock: systemClock,
    log: silentLog,
  })
  expect(await lost.promise).toMatch(/certificate|unable to verify|self-signed/)
  expect(hello).not.toHaveBeenCalled()
  link.close()
})

test('nor does the doctor think that a proxy of another authority is well', async () => {
  const shown = makeCertificates('access.example.test')
  const certificate = { cert: shown.read('proxy', 'crt'), key: shown.read('proxy', 'key') }
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write('S')
      new TLSSocket(socket, { isServer: true, ...certificate }).on('error', () => {})
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const check = (serverAuthorities: string) =>
    checkProxy({
      files: { ...homeFiles(shown.directory), serverAuthorities },
      config: {
        controlUrl: site.running.url,
        realm: 'default',
        email: 'dev@example.test',
        domain: 'access.example.test',
        proxyHost: '127.0.0.1',
        proxyPorts: { postgres: port },
      },
    })
  expect(await check(shown.caFile)).toMatchObject({ state: 'ok' })
  expect(await check(others.caFile)).toMatchObject({ state: 'fail' })
  server.close()
  shown.remove()
})
