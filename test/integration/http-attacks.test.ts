/**
 * What somebody would try who wants to be somebody else at an app, to get around its rules, or to bring the proxy down: from the client's side
 * and from the app's.
 */
import { connect as connectHttp2 } from 'node:http2'
import { createServer, type AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { http } from '../../protocols/http/index.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { startEngineServer } from '../fakes/engine-server.ts'
import { createFakeGate } from '../fakes/gate.ts'
import { httpTerms } from '../fakes/http-app.ts'
import { apiToken, domain, readTold, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { copyCertificates, type TestCertificates } from '../fakes/tls.ts'

let certificates: TestCertificates
let site: HttpSite

beforeAll(async () => {
  certificates = await copyCertificates(domain)
  site = await startHttpSite({
    certificates,
    gate: { level: 'admin' },
    terms: { credential: { kind: 'header', name: 'x-api-key' } },
  })
})
afterAll(async () => {
  await site.close()
  certificates.remove()
})

/** One request with fields as bytes. */
async function send(fields: string, path = '/'): Promise<number> {
  const head = `GET ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nConnection: close\r\n${fields}\r\n`
  const answer = await site.raw(Buffer.from(head, 'latin1'), { quietMs: 20_000 })
  return readTold(answer).status
}

test('a cookie of another name, which other hosts may set, is not the session', async () => {
  const before = site.gate.sessions.length
  for (const space of ['\xa0', '\ufeff', '\x85', '\xa0\xa0']) {
    const name = Buffer.from(space, 'latin1').toString('latin1')
    expect(await send(`Cookie: ${name}__Host-sallyport=attackers\r\n`)).toBe(401)
  }
  expect(site.gate.sessions.length).toBe(before)
  expect(await send('Cookie: other=1;\t __Host-sallyport=own \r\n')).toBe(200)
})

test('the client sets neither the credential nor who asks, in no spelling', async () => {
  const names = [
    ...['x_api_key', 'X-API_Key', 'x.api.key', 'Sallyport_Assertion', 'sallyport.assertion'],
    ...['Client-Cert', 'Remote-User', 'X-Remote-User', 'X-WebAuth-User', 'X-SSL-Client-S-DN'],
    ...['SSL_CLIENT_VERIFY', 'X-Forwarded_For', 'X_HTTP_Method_Override', 'X-Pomerium-Claim-Email'],
  ]
  const fields = names.map((name) => `${name}: forged\r\n`).join('')
  expect(await send(`Authorization: Bearer ${apiToken}\r\n${fields}X-Own: kept\r\n`)).toBe(200)
  const { raw } = site.reached.at(-1)!
  expect(raw).not.toContain('forged')
  expect(raw).toContain('kept')
  expect(raw.filter((each) => /api.key/i.test(each))).toEqual(['x-api-key'])
})

test('a token of ours never reaches an app, although something else was evidence', async () => {
  const ours = `Sallyport-Authorization: Bearer ${apiToken}\r\n`
  const other = `spa_${'o'.repeat(32)}`
  for (const value of [`Bearer ${other}`, `Bearer\t${other}`, `bearer  ${other}`, other]) {
    expect(await send(`${ours}Authorization: ${value}\r\n`)).toBe(200)
    expect(site.reached.at(-1)!.raw.join()).not.toContain(other)
  }
  // As git, and others that know names and passwords alone, would send it.
  const pair = Buffer.from(`anybody:${other}`).toString('base64')
  for (const scheme of ['Basic', 'basic ', 'Basic\t']) {
    expect(await send(`${ours}Authorization: ${scheme} ${pair}\r\n`)).toBe(200)
    expect(site.reached.at(-1)!.headers.authorization).toBeUndefined()
  }
  expect(await send(`${ours}Authorization: Basic YTpi\r\n`)).toBe(200)
  expect(site.reached.at(-1)!.headers.authorization).toBe('Basic YTpi')
})

test('what other sites have a page load begins no sign-in', async () => {
  const image = { 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'image' }
  const frame = { 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'iframe' }
  for (const headers of [image, frame]) {
    const told = await site.ask({ path: '/.sallyport/open', headers, token: null })
    expect([told.status, told.cookies]).toEqual([403, []])
  }
})

test('a path longer than any is refused, and on record', async () => {
  const path = `/${'a'.repeat(9_000)}`
  expect(await send(`Authorization: Bearer ${apiToken}\r\n`, path)).toBe(414)
  expect(site.gate.records.at(-1)!.outcomes[0]!.tag).toBe('414')
})

test('a connection that is kept outlives nothing of what it shows', async () => {
  await using own = await served({ leaseCheckMs: 50 })
  const socket = await own.site.connect()
  const ask = (): Promise<string> => {
    socket.write(
      `GET / HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n\r\n`,
    )
    return new Promise((resolve) => {
      socket.once('data', (bytes: Buffer) => resolve(bytes.toString().slice(9, 12)))
    })
  }
  expect(await ask()).toBe('200')
  own.site.gate.refuse = () =>
    new SallyportError('evidence-expired', 'it has ended', { clientMessage: 'it has ended' })
  await expect.poll(ask).toBe('401')
  own.site.gate.refuse = undefined
  await expect.poll(ask).toBe('200')
  // However often it was looked at, it is one session.
  await expect.poll(() => own.site.gate.arrivals.length).toBeGreaterThan(2)
  socket.destroy()
})

async function served(limits: Partial<Limits>) {
  const own = await startHttpSite({ certificates, limits })
  return { site: own, [Symbol.asyncDispose]: () => own.close() }
}

/** An app that answers anything with these bytes, before an engine of its own. */
async function behind(answer: string) {
  const app = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(Buffer.from(answer, 'latin1')))
  })
  await new Promise<void>((resolve) => {
    app.listen(0, '127.0.0.1', resolve)
  })
  const { port } = app.address() as AddressInfo
  const upstream = { host: '127.0.0.1', port, serverName: '127.0.0.1', tls: 'disable' } as const
  const gate = createFakeGate({ upstream, account: 'a', secret: 's', http: httpTerms() })
  const server = await startEngineServer({ engine: http, gate, certificates, domain })
  return {
    port: server.port,
    async [Symbol.asyncDispose]() {
      await server.close()
      await new Promise((resolve) => app.close(resolve))
    },
  }
}

/** The status and trailers of an answer by HTTP/2; 0: the stream was reset. */
function askHttp2(port: number): Promise<{ status: number; trailers: object }> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, {
    ...{ ca: certificates.caPem, servername: `wiki.${domain}` },
    checkServerIdentity: () => undefined,
  })
  return new Promise((resolve) => {
    const told = { status: 0, trailers: {} }
    session.on('error', () => {})
    const stream = session.request({
      ...{ ':path': '/', ':authority': `wiki.${domain}` },
      authorization: `Bearer ${apiToken}`,
    })
    stream.on('response', (headers) => (told.status = Number(headers[':status'])))
    stream.on(
      'trailers',
      (headers) => (told.trailers = Object.fromEntries(Object.entries(headers))),
    )
    stream.on('error', () => {})
    stream.on('close', () => {
      session.destroy()
      resolve(told)
    })
    stream.resume()
  })
}

const body = 'Content-Length: 2\r\n\r\nhi'
const chunked = 'Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n'
/** Each would have thrown in an event of HTTP/2, and ended the process. */
test.each([
  [
    'trailers of one hop',
    `HTTP/1.1 200 OK\r\n${chunked}Keep-Alive: x\r\nConnection: y\r\nUpgrade: z\r\n\r\n`,
    200,
  ],
  [
    'trailers that frame',
    `HTTP/1.1 200 OK\r\n${chunked}Status: 1\r\nHTTP2-Settings: y\r\n\r\n`,
    200,
  ],
  ['a trailer twice', `HTTP/1.1 200 OK\r\n${chunked}ETag: a\r\nETag: b\r\n\r\n`, 200],
  ['a field twice', `HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Type: b\r\n${body}`, 200],
  ['a status that is none', `HTTP/1.1 700 Odd\r\n${body}`, 502],
  ['a status below any', `HTTP/1.1 099 Odd\r\n${body}`, 502],
  [
    'hints that are none',
    `HTTP/1.1 103 Early Hints\r\nLink: x"\r\nETag: a\r\nETag: b\r\n\r\nHTTP/1.1 200 OK\r\n${body}`,
    200,
  ],
  ['a switch that nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', 502],
])('an app that answers with %s brings nobody down', async (_what, answer, status) => {
  await using app = await behind(answer)
  const told = await askHttp2(app.port)
  expect(told.status).toBe(status)
  // Again: whoever asks next is served.
  expect((await askHttp2(app.port)).status).toBe(status)
})

test('trailers that would set or say something of ours stop here', async () => {
  const trailers =
    'Set-Cookie: a=b\r\nSallyport-Warning: x\r\nClear-Site-Data: "*"\r\nX-Sum: kept\r\n'
  await using app = await behind(`HTTP/1.1 200 OK\r\n${chunked}${trailers}\r\n`)
  expect((await askHttp2(app.port)).trailers).toEqual({ 'x-sum': 'kept' })
})

test('an app sets no cookie that some browser sends as ours', async () => {
  const before = site.answer
  site.answer = (_request, response) => {
    response.setHeader('set-cookie', [
      '=__Host-sallyport=x',
      ' =__host-Sallyport=x',
      '\xa0__Host-sallyport=x',
      'own=1; Domain=access.localhost',
    ])
    response.end()
  }
  const told = await site.ask({})
  site.answer = before
  expect(told.cookies).toEqual(['own=1'])
})
