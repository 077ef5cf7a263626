/** What an app learns of who asks: signed, verified here by a library that shares nothing with what signs, and never what a client says. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, run } from '../demo-site.ts'
import {
  authorityOf,
  bearerOf,
  openChat,
  openHttp1,
  openHttp2,
  type HttpEvidence,
} from '../fakes/http-clients.ts'
import { startWebApp, type Arrived, type WebApp } from '../fakes/web-app.ts'
import { httpDomain, startHttpStack, type HttpPerson, type HttpStack } from '../http-stack.ts'

let app: WebApp
let stack: HttpStack
let dev: HttpPerson
let evidence: HttpEvidence
const ends: (() => unknown)[] = []

beforeAll(async () => {
  app = await startWebApp()
  const resource = { port: app.port, http: { rules: [{ path: '/**', needs: 'read' as const }] } }
  stack = await startHttpStack({ apps: { wiki: resource, other: resource } })
  dev = await stack.person('dev')
  await stack.grant(dev, 'wiki')
  await stack.grant(dev, 'other')
  evidence = bearerOf(await dev.token())
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await stack?.stop()
  await app?.close()
})

interface Verdict {
  readonly claims?: Readonly<Record<string, unknown>>
  readonly refused?: string
}

/** What PyJWT says of tokens, with control's published keys. */
async function verify(tokens: readonly string[], audience = 'wiki'): Promise<Verdict[]> {
  const given = {
    jwks: `${stack.site.controlUrl}/.well-known/jwks.json?domain=${httpDomain}`,
    audience: `https://${audience}.${httpDomain}`,
    issuer: `https://${httpDomain}`,
    tokens,
  }
  const program = join(import.meta.dirname, '../clients/verify-assertion.py')
  const environment = { SSL_CERT_FILE: stack.site.adminHome.files.controlAuthority }
  const ran = await run('/usr/bin/python3', [program], environment, JSON.stringify(given))
  expect(ran.code, ran.stderr).toBe(0)
  return ran.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Verdict)
}

function last(url: string): Arrived {
  const found = app.arrived.findLast((one) => one.url === url)
  if (found === undefined) throw new Error(`${url} did not arrive`)
  return found
}
function assertionOf({ headers }: Arrived): string {
  const values = headers.get('sallyport-assertion') ?? []
  expect(values).toHaveLength(1)
  return values[0]!
}
async function assertion(name = 'wiki', shown = evidence): Promise<string> {
  const client = openHttp1(stack, name, shown)
  try {
    const path = `/who?${app.arrived.length}`
    // A proxy that was just started does not know tokens before its first word with control.
    await eventually(
      () => client.ask(path),
      ({ status }) => status !== 503,
    )
    return assertionOf(last(path))
  } finally {
    client.close()
  }
}

test('the app sees a valid assertion of who asks, over every way in', async () => {
  const h1 = openHttp1(stack, 'wiki', { certificate: dev })
  const h2 = await openHttp2(stack, 'wiki', evidence)
  ends.push(
    () => h1.close(),
    () => h2.close(),
  )
  const beforeSeconds = Math.floor(Date.now() / 1_000) - 1
  await h1.ask('/h1')
  await h2.ask('/h2')
  const chat = await openChat(stack, 'wiki', '/ws', evidence)
  chat.socket.close()
  const tokens = ['/h1', '/h2', '/ws'].map((path) => assertionOf(last(path)))
  const sessions = await stack.sessions(dev, (found) => found.length >= 2)
  for (const { claims } of await verify(tokens)) {
    expect(claims).toMatchObject({
      ...{ iss: `https://${httpDomain}`, aud: `https://wiki.${httpDomain}` },
      ...{ sub: dev.id, email: dev.email, level: 'read' },
    })
    const session = sessions.find(({ id }) => id === claims!['session'])
    expect(claims!['grant']).toBe(session!.grantId)
    const [issued, expires] = [Number(claims!['iat']), Number(claims!['exp'])]
    expect(expires - issued).toBe(60)
    expect(issued).toBeGreaterThanOrEqual(beforeSeconds - 30)
  }
})

test('an assertion is for one app, and no other bytes', async () => {
  const [wiki, other] = [await assertion('wiki'), await assertion('other')]
  const [head, body, signature] = wiki.split('.') as [string, string, string]
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as object
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const { kid } = JSON.parse(Buffer.from(head, 'base64url').toString()) as { kid: string }
  const refused = await verify([
    wiki,
    other,
    `${head}.${encode({ ...claims, level: 'admin' })}.${signature}`,
    `${encode({ alg: 'none', typ: 'JWT', kid })}.${body}.`,
    `${head}.${body}.${other.split('.')[2]}`,
  ])
  expect(refused.map((one) => one.refused ?? 'valid')).toEqual([
    'valid',
    'InvalidAudienceError',
    'InvalidSignatureError',
    'InvalidAlgorithmError',
    'InvalidSignatureError',
  ])
  expect((await verify([other], 'other'))[0]!.claims).toBeDefined()
})

/** What a client may try to be taken for another, another's address or another request with. */
const forged = [
  ...['Sallyport-Assertion', 'sallyport-assertion', 'SALLYPORT-ASSERTION', 'Sallyport_Assertion'],
  ...['Sallyport-Email', 'sallyport_user', 'Sallyport-Session', 'Proxy-Authorization'],
  ...['Forwarded', 'X-Forwarded-For', 'x-forwarded-for', 'X_Forwarded_For', 'X-Forwarded_For'],
  ...['X-Forwarded-Host', 'X-Forwarded-Proto', 'X-Forwarded-Port', 'X-Forwarded-User'],
  ...['X-Forwarded-Email', 'X-Forwarded-Prefix', 'X-Forwarded-Client-Cert', 'X-FORWARDED-SERVER'],
  ...['X-Real-IP', 'X_Real_IP', 'True-Client-IP', 'CF-Connecting-IP', 'Client-IP', 'X-Client-IP'],
  ...['X-Cluster-Client-IP', 'X-Original-URL', 'X-Rewrite-URL', 'X-Original-Host'],
  ...['X-HTTP-Method-Override', 'X-Method-Override', 'X-HTTP-Method', 'X-Host'],
  ...['X-Auth-Request-Email', 'X-Goog-Authenticated-User-Email', 'X-Amzn-Oidc-Data', 'Via'],
] as const
const lie = 'forged@example.test'

/** Nothing of what a client forged, and once each what the proxy says. */
function expectHonest(one: Arrived): void {
  expect(JSON.stringify([...one.headers])).not.toContain(lie)
  const said = (name: string) => one.headers.get(name)
  expect(said('x-forwarded-for')).toEqual(['127.0.0.1'])
  expect(said('x-forwarded-proto')).toEqual(['https'])
  expect(said('x-forwarded-host')).toEqual([authorityOf(stack, 'wiki')])
  expect(said('x-forwarded-port')).toEqual([String(stack.httpPort)])
  expect(assertionOf(one).split('.')).toHaveLength(3)
}

/** Sends bytes as they are; resolves with the status line. */
function raw(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const ca = readFileSync(stack.caFile)
    const socket = connectTls(
      { host: '127.0.0.1', port: stack.httpPort, ca, servername: `wiki.${httpDomain}` },
      () => socket.write(bytes),
    )
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    socket.on('close', () => resolve(answer.split('\r\n')[0]!))
    socket.on('error', reject)
  })
}

const evidenceLine = (): string => `Authorization: ${String(evidence.headers!['authorization'])}`

test('no forged identity arrives over HTTP/1.1: each alone, twice, and all together', async () => {
  const lines = (names: readonly string[]): string =>
    names.map((name) => `${name}: ${lie}\r\n`).join('')
  const start = (path: string): string =>
    `GET ${path} HTTP/1.1\r\nHost: ${authorityOf(stack, 'wiki')}\r\nConnection: close\r\n`
  const tries = new Map(forged.map((name, index) => [`/forged/1/${index}`, [name, name]]))
  tries.set('/forged/1/all', [...forged])
  for (const [path, names] of tries) {
    const status = await raw(`${start(path)}${evidenceLine()}\r\n${lines(names)}\r\n`)
    expect(status, names[0]).toBe('HTTP/1.1 200 OK')
    expectHonest(last(path))
  }
})

test('no forged identity arrives over HTTP/2, nor with a WebSocket', async () => {
  const client = await openHttp2(stack, 'wiki', evidence)
  ends.push(() => client.close())
  for (const name of forged) {
    const path = `/forged/2/${name}`
    const field = name.toLowerCase()
    expect((await client.ask(path, { [field]: lie })).status, name).toBe(200)
    expectHonest(last(path))
  }
  const twice = {
    'x-forwarded-for': [lie, lie],
    'sallyport-assertion': [lie, lie],
  }
  expect((await client.ask('/forged/2/twice', twice)).status).toBe(200)
  expectHonest(last('/forged/2/twice'))
  const headers = Object.fromEntries(forged.map((name) => [name, lie]))
  const chat = await openChat(stack, 'wiki', '/forged/ws', {
    headers: { ...headers, ...evidence.headers },
  })
  chat.socket.close()
  expectHonest(last('/forged/ws'))
})

test('what Connection names ends here, but never takes away what the proxy says', async () => {
  const named = 'close, sallyport-assertion, x-forwarded-for, x-forwarded-proto, x-own'
  const status = await raw(
    `GET /named HTTP/1.1\r\nHost: ${authorityOf(stack, 'wiki')}\r\nConnection: ${named}\r\n${evidenceLine()}\r\nX-Own: ${lie}\r\n\r\n`,
  )
  expect(status).toBe('HTTP/1.1 200 OK')
  expectHonest(last('/named'))
})

test('after a restart of the proxy, and after it got another key, what was signed before verifies as well', async () => {
  const before = await assertion()
  await stack.stopProcess('proxy')
  await stack.startProcess('proxy')
  const [kept] = await eventually(
    async () => verify([before, await assertion()]),
    (verdicts) => verdicts.every(({ claims }) => claims !== undefined),
  )
  expect(kept!.claims!['email']).toBe(dev.email)
  await stack.stopProcess('proxy')
  rmSync(join(stack.site.paths.proxy, 'assertion.key'))
  await stack.startProcess('proxy')
  const after = await assertion()
  const kidOf = (token: string): unknown =>
    (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid
  expect(kidOf(after)).not.toBe(kidOf(before))
  const verdicts = await eventually(
    () => verify([before, after]),
    (both) => both.every(({ claims }) => claims !== undefined),
  )
  expect(verdicts.map(({ claims }) => claims!['sub'])).toEqual([dev.id, dev.id])
})
