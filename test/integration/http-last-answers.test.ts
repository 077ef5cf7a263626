/** An answer that comes while its client is still sending is read by it, and not lost with the connection (RFC 9112, 9.6). */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2, constants } from 'node:http2'
import { request as requestHttps } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocketServer } from 'ws'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { httpTerms } from '../fakes/http-app.ts'
import { apiToken, domain, readTold, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

/** More than sockets hold on the way. */
const bodyBytes = 24 * 1024 * 1024
const bodyBytesMax = 8 * 1024 * 1024

let site: HttpSite
let sockets: WebSocketServer
let webSockets = 0
let scratch: string
let bodyFile: string
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sallyport-last-answers-'))
  bodyFile = join(scratch, 'body')
  writeFileSync(bodyFile, Buffer.alloc(bodyBytes, 'x'))
  site = await startHttpSite({
    gate: { level: 'write' },
    limits: {
      ...{ requestBodyMs: 60_000, lingerMs: 20_000, lingerBytesMax: 2 * bodyBytes },
      // Some clients leave an idle connection of HTTP/2 open.
      ...{ requestHeadMs: 500, connectionIdleMs: 2_000, unadmittedMs: 2_000 },
    },
    terms: {
      limits: { ...httpTerms().limits, bodyBytesMax },
      rules: [
        { path: '/secret/**', needs: 'deny' },
        { path: '/**', needs: 'read' },
      ],
    },
  })
  sockets = new WebSocketServer({ server: site.app })
  // An app that is slower than its client.
  sockets.on('connection', (socket) => {
    webSockets += 1
    socket.pause()
  })
})
afterAll(async () => {
  for (const socket of sockets.clients) socket.terminate()
  sockets.close()
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  await site.close()
  rmSync(scratch, { recursive: true, force: true })
})
beforeEach(() => {
  // An app that reads nothing: what is sent to it fills everything between.
  site.answer = (request) => void request.pause()
  site.reached.length = 0
})
afterEach(async () => {
  for (const session of site.gate.sessions) if (!session.signal.aborted) session.cut()
  await eventually(() => site.gate.records.every(({ outcomes }) => outcomes.length === 1))
})

const reason = 'your grant was revoked'
const head = (method: string, path: string, more: string, token = apiToken): string =>
  `${method} ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${token}\r\n${more}\r\n`
const length = `Content-Length: ${bodyBytes}\r\n`
/** A chunk that does not end before everything was sent. */
const chunked = 'Transfer-Encoding: chunked\r\n'

const webSocketHead = (origin: string): string =>
  head(
    'GET',
    '/live',
    `Upgrade: websocket\r\nConnection: Upgrade\r\nOrigin: ${origin}\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
  )

/** The worst of clients: reads nothing before all of its own is sent. */
async function sendThenRead(
  bytes: string,
  {
    once = () => {},
    body = Buffer.alloc(bodyBytes, 'x'),
  }: { once?: () => unknown; body?: Buffer } = {},
): Promise<{ told: string; error: string | undefined; isEnded: boolean }> {
  const socket = await site.connect()
  let error: string | undefined
  let told = ''
  let isEnded = false
  socket.removeAllListeners('error')
  socket.on('error', ({ message }) => (error ??= message))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.pause()
  socket.write(bytes)
  const sent = new Promise((resolve) => socket.write(body, resolve))
  await once()
  await sent
  socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
  socket.on('end', () => (isEnded = true))
  socket.resume()
  await closed
  return { told, error, isEnded }
}

const early: Readonly<Record<string, readonly [status: number, bytes: string]>> = {
  'a body that is said to be too large': [413, head('POST', '/', length)],
  'a body that proves too large': [
    413,
    `${head('POST', '/', chunked)}${bodyBytes.toString(16)}\r\n`,
  ],
  'what a rule forbids': [403, head('POST', '/secret/page', length)],
  'who shows nothing': [401, head('POST', '/', length).replace(/Authorization.*\r\n/, '')],
  'another host': [421, head('POST', '/', length).replace('wiki.', 'other.')],
  'no field': [400, head('POST', '/', `Bad Name: x\r\n${length}`)],
  'a header that is too large': [431, head('POST', '/', `X: ${'x'.repeat(300_000)}\r\n${length}`)],
  'no chunk': [400, `${head('POST', '/', chunked)}zz\r\n`],
  'a tunnel': [405, head('CONNECT', '/', length)],
  'the opening of a WebSocket': [403, webSocketHead('https://evil.example')],
}
test.each(Object.keys(early))('%s: the refusal is heard by who sends on and on', async (name) => {
  const [status, bytes] = early[name]!
  site.answer = (request) => void request.resume()
  const { told, error, isEnded } = await sendThenRead(bytes)
  expect({ status: readTold(told).status, error, isEnded }).toEqual({
    ...{ status, error: undefined, isEnded: true },
  })
  expect(site.reached.filter(({ complete }) => complete)).toEqual([])
})

test('a body that the app does not take, and that is cut: 403 with the reason', async () => {
  const { told, error } = await sendThenRead(
    `${head('POST', '/upload', chunked)}${bodyBytes.toString(16)}\r\n`,
    {
      async once() {
        await eventually(() => site.reached.length === 1)
        site.gate.sessions.at(-1)!.cut('grant-revoked', reason)
      },
    },
  )
  expect(error).toBeUndefined()
  expect(readTold(told).status).toBe(403)
  expect(told).toContain(reason)
})

test('who sends on after a cut is not waited for by the session, and nothing that was not on its way reaches the app', async () => {
  let arrived = 0
  site.answer = (request) =>
    void request.on('data', ({ length: bytes }: Buffer) => (arrived += bytes))
  const socket = await site.connect()
  socket.on('error', () => {})
  let told = ''
  socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
  // Without allowHalfOpen the client would end as soon as we do.
  const sending = setInterval(() => socket.write(`4\r\n${'x'.repeat(4)}\r\n`), 1)
  socket.write(head('POST', '/upload', chunked))
  await eventually(() => arrived > 0)
  const session = site.gate.sessions.at(-1)!
  session.cut('grant-revoked', reason)
  // What the kernel has by now still arrives, when the app comes to read it; nothing is forwarded any more.
  const { forwardedBytes } = session
  await session.closed
  expect(readTold(told).status).toBe(403)
  await new Promise((resolve) => socket.once('close', resolve))
  clearInterval(sending)
  expect(session.forwardedBytes).toBe(forwardedBytes)
  expect(arrived).toBeLessThanOrEqual(forwardedBytes)
  expect(site.gate.records.at(-1)!.outcomes[0]).toMatchObject({ status: 'cancelled' })
})

const curl = (...more: readonly string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((resolve) => {
    const whole = [
      ...['-sS', '--cacert', site.certificates.caFile, '-w', '\n%{http_code}'],
      ...['--resolve', `wiki.${domain}:${site.server.port}:127.0.0.1`],
      ...['-H', `Authorization: Bearer ${apiToken}`, ...more],
    ]
    execFile('curl', whole, (error, out, err) =>
      resolve({ code: Number(error?.code ?? 0), out, err }),
    )
  })
const url = (path: string): string => `https://wiki.${domain}:${site.server.port}${path}`

test.each(['--http1.1', '--http2'])(
  'curl %s hears why, with Expect and without',
  async (version) => {
    site.answer = (request) => void request.resume()
    for (const expected of ['Expect:', 'Expect: 100-continue']) {
      for (const [path, status, how] of [
        ['/', 413, []],
        ['/', 413, ['-H', 'Transfer-Encoding: chunked']],
        ['/secret/page', 403, []],
      ] as const) {
        const { code, out, err } = await curl(
          ...[version, '-H', expected, ...how, '--data-binary', `@${bodyFile}`, url(path)],
        )
        expect([code, err, out]).toEqual([0, '', expect.stringContaining(`}\n\n${status}`)])
      }
    }
  },
)

test.each(['--http1.1', '--http2'])(
  'curl %s that is cut while it sends hears why',
  async (version) => {
    const told = curl(
      version,
      '-H',
      'Expect:',
      '-X',
      'POST',
      '-T',
      bodyFile,
      '-H',
      'Transfer-Encoding: chunked',
      url('/upload'),
    )
    await eventually(() => site.reached.length === 1)
    site.gate.sessions.at(-1)!.cut('grant-revoked', reason)
    const { code, out, err } = await told
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain(reason)
    expect(out).toMatch(/\n403$/)
  },
)

test('Node’s clients hear why', async () => {
  const answered = await new Promise((resolve, reject) => {
    const outgoing = requestHttps({
      ...{ host: '127.0.0.1', port: site.server.port, method: 'POST', path: '/secret/page' },
      ...{ ca: site.certificates.caPem, servername: `wiki.${domain}` },
      headers: { host: `wiki.${domain}`, authorization: `Bearer ${apiToken}` },
    })
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      response.resume()
      response.on('end', () => {
        resolve(response.statusCode)
        outgoing.destroy()
      })
    })
    const more = (): void => {
      while (!outgoing.destroyed && outgoing.write(Buffer.alloc(65_536))) continue
    }
    outgoing.on('drain', more)
    more()
  })
  expect(answered).toBe(403)
})

test('a stream of HTTP/2 whose answer is whole is not left open for its client to go on', async () => {
  site.answer = (_request, response) => {
    response.writeHead(200, { trailer: 'x-digest' })
    response.write('enough')
    response.addTrailers({ 'x-digest': 'abc' })
    response.end()
  }
  const client = connectHttp2(`https://127.0.0.1:${site.server.port}`, {
    ...{ ca: site.certificates.caPem, servername: `wiki.${domain}` },
  })
  client.on('error', () => {})
  for (const [path, status] of [
    ['/', 200],
    ['/secret/page', 403],
  ] as const) {
    const stream = client.request(
      {
        ...{ ':method': 'POST', ':path': path, ':authority': `wiki.${domain}` },
        authorization: `Bearer ${apiToken}`,
      },
      { endStream: false },
    )
    const heard: Record<string, unknown> = { text: '' }
    stream.on('response', (fields) => (heard['status'] = fields[':status']))
    stream.on('trailers', (fields) => (heard['trailer'] = fields['x-digest']))
    stream.on('data', (part: Buffer) => (heard['text'] += part.toString()))
    stream.write('some')
    await new Promise((resolve) => stream.once('close', resolve))
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR)
    expect(heard).toMatchObject({ status })
    if (status === 200) expect(heard).toMatchObject({ text: 'enough', trailer: 'abc' })
  }
  expect(client.destroyed).toBe(false)
  client.destroy()
})

/** Masked with nothing. */
const binaryFrame = Buffer.concat([
  Buffer.from([0x82, 0x80 | 126, 0x40, 0, 0, 0, 0, 0]),
  Buffer.alloc(16_384),
])

test('a WebSocket that sends and reads nothing is closed with 1008, and hears it', async () => {
  const { told, error } = await sendThenRead(webSocketHead(`https://wiki.${domain}`), {
    body: Buffer.concat(Array(bodyBytes / 16_384).fill(binaryFrame)),
    async once() {
      await eventually(() => webSockets === 1)
      site.gate.sessions.at(-1)!.cut('grant-revoked', reason)
    },
  })
  expect(error).toBeUndefined()
  expect(told).toContain(reason)
})

test.each([
  ['longer', { lingerMs: 200 }],
  ['more', { lingerBytesMax: 1024 * 1024 }],
])('no connection is kept for %s than the limit says', async (name, limits) => {
  const bounded = await startHttpSite({ limits })
  try {
    const socket = await bounded.connect()
    socket.on('error', () => {})
    // Nothing is read, so that the client does not end when it is told to.
    socket.pause()
    socket.write(head('POST', '/', length).replace(/Authorization.*\r\n/, ''))
    await eventually(() => bounded.server.serving === 1)
    if (name === 'more') socket.write(Buffer.alloc(bodyBytes))
    await eventually(() => bounded.server.serving === 0)
    socket.destroy()
  } finally {
    await bounded.close()
  }
})
