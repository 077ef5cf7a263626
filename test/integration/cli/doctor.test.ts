/** `sally doctor`: each check alone in each of its states, against a proxy's TLS as PostgreSQL clients see it. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { issueServerCertificate } from '../../../certs/issue-server.ts'
import { createKeyAndRequest } from '../../../certs/request.ts'
import { systemClock } from '../../../protocols/kit/clock.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { dev, shopHandlers } from '../../fakes/shop.ts'
import { runSally } from '../../run-sally.ts'

interface Doctor {
  ok: boolean
  checks: { name: string; state: string; detail: string; mend?: string }[]
}
let api: FakeApi
let usual: FakeHandlers
let scratch: string
let home: string
let proxy: Server
let count = 0

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-doctor-'))
  usual = await shopHandlers()
  api = await startFakeApi(usual)
  proxy = await startProxy('access.localhost')
})
beforeEach(async () => {
  api.handlers = usual
  home = await makeHome(api, join(scratch, `home-${(count += 1)}`), { proxyPort: portOf(proxy) })
})
afterAll(async () => {
  await api.close()
  proxy.close()
  rmSync(scratch, { recursive: true, force: true })
})

/** SSLRequest, S, TLS: what the engine of PostgreSQL does at first; the one of HTTP begins with TLS. */
async function startProxy(domain: string, begins?: 'tls'): Promise<Server> {
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const { certificatePem } = await issueServerCertificate(api.proxies, {
    requestPem,
    dnsNames: [`*.${domain}`, domain],
    validForMs: 3_600_000,
    clock: systemClock,
  })
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    const speakTls = (): void => {
      const secure = new TLSSocket(socket, {
        isServer: true,
        key: privateKeyPem,
        cert: certificatePem,
      })
      secure.on('error', () => undefined)
    }
    if (begins === 'tls') {
      speakTls()
      return
    }
    socket.once('data', (question: Buffer) => {
      if (question[0] !== 0) {
        socket.destroy()
        return
      }
      socket.write('S')
      speakTls()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}
const portOf = (server: Server): number => (server.address() as AddressInfo).port

async function doctor(
  environment: NodeJS.ProcessEnv = {},
): Promise<Doctor & { code: number | null }> {
  const run = await runSally(['doctor', '--json'], { home, environment })
  return { ...(JSON.parse(run.stdout) as Doctor), code: run.code }
}
const statesOf = ({ checks }: Doctor): Record<string, string> =>
  Object.fromEntries(checks.map(({ name, state }) => [name, state]))

test('everything is well', async () => {
  const result = await doctor()
  const { names, ...others } = statesOf(result)
  expect(others).toEqual({
    home: 'ok',
    certificate: 'ok',
    proxies: 'ok',
    control: 'ok',
    'signed in': 'ok',
    clock: 'ok',
    proxy: 'ok',
    psql: 'ok',
  })
  // Whether *.localhost resolves is the machine's affair; it never makes the answer a no.
  expect(['ok', 'warn']).toContain(names)
  expect(result).toMatchObject({ ok: true, code: 0 })
  const human = await runSally(['doctor'], { home })
  expect(human.stdout).toMatch(/^ok {4}home/)
  expect(human.code).toBe(0)
})

test.each<[string, () => void | Promise<void>, Record<string, string>]>([
  ['a home that others see', () => chmodSync(home, 0o755), { home: 'warn' }],
  [
    'authorities that others can change',
    () => chmodSync(join(home, 'ca.pem'), 0o666),
    { home: 'fail' },
  ],
  [
    'a key of another certificate',
    async () => writeFileSync(join(home, 'key.pem'), (await createKeyAndRequest()).privateKeyPem),
    { certificate: 'fail' },
  ],
  [
    'a proxy that is not there',
    () => writeFileSync(join(home, 'config.json'), changed('"postgres":\\d+', '"postgres":1')),
    { proxy: 'fail', control: 'ok' },
  ],
  [
    'a proxy under another authority',
    () => writeFileSync(join(home, 'ca.pem'), api.people.certificatePem),
    { proxy: 'fail' },
  ],
  [
    'another domain than the proxy has',
    () => writeFileSync(join(home, 'config.json'), changed('access.localhost', 'other.localhost')),
    { proxy: 'fail' },
  ],
  [
    'control that is not there',
    () => writeFileSync(join(home, 'config.json'), changed(api.url, 'https://127.0.0.1:1')),
    { control: 'fail', proxy: 'ok' },
  ],
  [
    'clocks that disagree',
    () => {
      const controlTimeMs = systemClock.wallMs() + 60_000
      api.handlers = {
        ...usual,
        whoami: () => ({
          person: dev,
          realm: 'default',
          certificate: { serial: 'a', expiresAtMs: controlTimeMs },
          login: null,
          controlTimeMs,
        }),
      }
    },
    { clock: 'warn', control: 'ok' },
  ],
])('%s', async (_, damage, states) => {
  await damage()
  const result = await doctor()
  expect(statesOf(result)).toMatchObject(states)
  const failed = Object.values(states).includes('fail')
  expect(result).toMatchObject({ ok: !failed, code: failed ? 1 : 0 })
  for (const { state, mend } of result.checks) if (state !== 'ok') expect(mend).toBeTruthy()
})

test('the port for web apps, where the home knows one', async () => {
  const https = await startProxy('access.localhost', 'tls')
  try {
    const other = portOf(https)
    home = await makeHome(api, join(scratch, 'home-https'), {
      ...{ proxyPort: portOf(proxy), httpPort: other },
    })
    const good = await doctor()
    expect(statesOf(good)).toMatchObject({ proxy: 'ok', 'HTTPS proxy': 'ok', curl: 'ok' })
    // Browsers do without it.
    const bare = await doctor({ PATH: scratch })
    expect(bare.checks.find(({ name }) => name === 'curl')).toMatchObject({
      ...{ state: 'warn', mend: expect.stringContaining('install curl') },
    })
    // Where PostgreSQL is spoken, no TLS begins.
    const config = changed(`"http":${other}`, `"http":${portOf(proxy)}`)
    writeFileSync(join(home, 'config.json'), config)
    expect(statesOf(await doctor())).toMatchObject({ proxy: 'ok', 'HTTPS proxy': 'fail' })
    writeFileSync(join(home, 'config.json'), config.replace(/"http":\d+/, '"http":1'))
    expect(statesOf(await doctor())).toMatchObject({ proxy: 'ok', 'HTTPS proxy': 'fail' })
  } finally {
    https.close()
  }
})

test('no home, and no psql', async () => {
  home = join(scratch, 'nowhere')
  const result = await doctor({ PATH: scratch })
  expect(statesOf(result)).toEqual({ home: 'fail', psql: 'fail' })
  expect(result.code).toBe(1)
})

function changed(pattern: string, by: string): string {
  const config = readFileSync(join(home, 'config.json'), 'utf8')
  expect(config).toMatch(new RegExp(pattern))
  return config.replace(new RegExp(pattern), by)
}
