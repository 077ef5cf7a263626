/** Apps that answer what HTTP does not have, too early, too often, or nobody: their clients are told so, and nobody else notices. */
import { connect as connectHttp2, createServer as createHttp2, type Http2Server } from 'node:http2'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { http } from '../../protocols/http/index.ts'
import type { HttpTerms } from '../../protocols/session.ts'
import { startEngineServer } from '../fakes/engine-server.ts'
import { createFakeGate } from '../fakes/gate.ts'
import { httpTerms } from '../fakes/http-app.ts'
import { apiToken, domain, readTold } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { copyCertificates, type TestCertificates } from '../fakes/tls.ts'

let certificates: TestCertificates
beforeAll(async () => {
  certificates = await copyCertificates(domain)
})
afterAll(() => certificates.remove())

const listening = (app: Server | Http2Server, port = 0): Promise<number> =>
  new Promise((resolve) => {
    app.listen(port, '127.0.0.1', () => resolve((app.address() as AddressInfo).port))
  })

async function before(port: number, version: HttpTerms['version'] = '1.1') {
  const upstream = { host: '127.0.0.1', port, serverName: '127.0.0.1', tls: 'disable' } as const
  const terms = httpTerms({ version })
  const gate = createFakeGate({ upstream, account: 'a', secret: 's', http: terms, level: 'admin' })
  const server = await startEngineServer({ engine: http, gate, certificates, domain })
  return {
    ...{ gate, port: server.port },
    async [Symbol.asyncDispose]() {
      await server.close()
      await eventually(() => server.serving === 0)
      expect(server.crashes).toEqual([])
      for (const { outcomes } of gate.records) expect(outcomes).toHaveLength(1)
    },
  }
}

const tls = (): object => ({
  ...{ host: '127.0.0.1', ca: certificates.caPem, servername: `wiki.${domain}` },
  checkServerIdentity: () => undefined,
})

/** One connection that asks one thing after the other, and gives the bytes of each answer once they end as they should. */
function client(port: number) {
  const socket = connectTls({ ...tls(), port })
  let told = ''
  let isClosed = false
  socket.on('error', () => {})
  socket.on('close', () => (isClosed = true))
  socket.on('data', (chunk: Buffer) => (told += chunk.toString('latin1')))
  return {
    async ask(path: string, end = /\r\n\r\n/, method = 'GET'): Promise<string> {
      told = ''
      socket.write(
        `${method} ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n\r\n`,
      )
      await eventually(() => end.test(told) || isClosed)
      return told
    },
    close: () => socket.destroy(),
  }
}

const good = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'

/** An app that answers `/bad` with these bytes, and everything else as it should; `end`: and hangs up. */
async function appOf(bytes: string, end = false) {
  const sockets = new Set<Socket>()
  const app = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      const isBad = chunk.toString('latin1').includes(' /bad ')
      socket.write(Buffer.from(isBad ? bytes : good, 'latin1'))
      if (isBad && end) socket.end()
    })
  })
  const port = await listening(app)
  return {
    ...{ port, sockets },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => app.close(resolve))
    },
  }
}

const chunks = '2\r\nhi\r\n0\r\n\r\n'
const chunked = 'Transfer-Encoding: chunked\r\n'
const badAnswers: Readonly<Record<string, string>> = {
  'two lengths': `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi`,
  'a list of lengths': `HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi`,
  'a length and chunks': `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${chunked}\r\n${chunks}`,
  'a folded field': `HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi`,
  'a bare CR in a field': `HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nhi`,
  'bare LF': `HTTP/1.1 200 OK\nContent-Length: 2\n\nhi`,
  'a zero byte': `HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi`,
  'a blank before a colon': `HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi`,
  'a field without a name': `HTTP/1.1 200 OK\r\n: 2\r\nContent-Length: 2\r\n\r\nhi`,
  'no HTTP': 'hi there, how are you',
  '100 that nobody waits for': `HTTP/1.1 100 Continue\r\n\r\n${good}`,
  '101 that nobody asked for': `HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n`,
  'a head without an end': `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`,
  'news without an end': `HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n`.repeat(100),
}

test.each(Object.entries(badAnswers))('%s: 502, on record as such', async (_what, bytes) => {
  await using app = await appOf(bytes)
  await using proxy = await before(app.port)
  const one = client(proxy.port)
  const told = await one.ask('/bad', /HTTP\/1\.1 [2-5]\d\d [^]*\r\n\r\n/)
  expect(readTold(told.slice(told.search(/HTTP\/1\.1 [2-5]/))).status).toBe(502)
  expect(proxy.gate.records.at(-1)!.outcomes[0]).toMatchObject({ status: 'error', tag: '502' })
  expect(await one.ask('/next', /good$/)).toMatch(/^HTTP\/1\.1 200 /)
  one.close()
})

const second = `HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned`
/** Bytes after the end of an answer are the answer to nobody. */
const poisons: Readonly<Record<string, readonly [string, string]>> = {
  'two answers': ['GET', `${good}${second}`],
  'a body to HEAD': [
    'HEAD',
    `HTTP/1.1 200 OK\r\nContent-Length: ${second.length}\r\n\r\n${second}`,
  ],
  'a body of 204': ['GET', `HTTP/1.1 204 No\r\nContent-Length: ${second.length}\r\n\r\n${second}`],
  'chunks of 204': ['GET', `HTTP/1.1 204 No\r\n${chunked}\r\n${second}`],
  'a body of 304': ['GET', `HTTP/1.1 304 No\r\nContent-Length: ${second.length}\r\n\r\n${second}`],
  'more than the length': ['GET', `HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n${second}`],
}

test.each(Object.entries(poisons))('%s: nobody gets the second', async (_what, [method, bytes]) => {
  await using app = await appOf(bytes)
  await using proxy = await before(app.port)
  const one = client(proxy.port)
  expect(await one.ask('/bad', /\r\n\r\n/, method)).toMatch(/^HTTP\/1\.1 [23]0/)
  for (let times = 0; times < 3; times++)
    expect(await one.ask('/next', /(?:good|oned)$/)).toMatch(/good$/)
  one.close()
})

test('an answer that comes when nobody asks is nobody’s', async () => {
  await using app = await appOf(good)
  await using proxy = await before(app.port)
  const one = client(proxy.port)
  expect(await one.ask('/', /good$/)).toMatch(/good$/)
  const kept = [...app.sockets]
  for (const socket of kept) socket.write(second)
  await eventually(() => kept.every((socket) => socket.destroyed || socket.readableEnded))
  expect(await one.ask('/next', /(?:good|oned)$/)).toMatch(/good$/)
  one.close()
})

test.each([
  ['of its length', 'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi'],
  ['of its chunks', `HTTP/1.1 200 OK\r\n${chunked}\r\n20\r\nhi`],
])('half %s is broken off, never passed off as whole', async (_what, bytes) => {
  await using app = await appOf(bytes, true)
  await using proxy = await before(app.port)
  const one = client(proxy.port)
  expect(await one.ask('/bad', /\r\n0\r\n\r\n/)).not.toMatch(/\r\n0\r\n\r\n$/)
  expect(proxy.gate.records.at(-1)!.outcomes[0]).toMatchObject({ status: 'error' })
})

function openClientOfHttp2(port: number) {
  const session = connectHttp2(`https://127.0.0.1:${port}`, tls())
  session.on('error', () => {})
  return {
    close: () => session.destroy(),
    /** The status; the request's body is begun and not ended, where there is one. */
    ask: (path: string, method = 'GET'): Promise<number> =>
      new Promise((resolve) => {
        const fields = { ':path': path, ':method': method, ':authority': `wiki.${domain}` }
        const stream = session.request({ ...fields, authorization: `Bearer ${apiToken}` })
        stream.on('response', (headers) => resolve(Number(headers[':status'])))
        stream.on('error', () => resolve(0))
        stream.resume()
        if (method === 'POST') stream.write('begun')
      }),
  }
}

test('an app of HTTP/2 that answers before the body is there keeps no stream open by that', async () => {
  let open = 0
  const app = createHttp2({ settings: { maxConcurrentStreams: 4 } })
  app.on('stream', (stream) => {
    open++
    stream.on('close', () => open--)
    stream.on('error', () => {})
    // It reads on: Node would reset what nobody reads.
    stream.resume()
    stream.respond({ ':status': 413 })
    stream.end('no')
  })
  const port = await listening(app)
  {
    await using proxy = await before(port, '2')
    const one = openClientOfHttp2(proxy.port)
    for (let each = 0; each < 12; each++) expect(await one.ask(`/${each}`, 'POST')).toBe(413)
    await eventually(() => open === 0)
    one.close()
  }
  app.close()
})

test('an app of HTTP/2 that has news without an end is given up', async () => {
  const app = createHttp2()
  let isReset = false
  app.on('stream', (stream) => {
    stream.on('error', () => {})
    stream.on('close', () => (isReset = true))
    const more = (): void => {
      if (stream.destroyed) return
      stream.additionalHeaders({ ':status': 103, link: '</a>; rel=preload' })
      setImmediate(more)
    }
    more()
  })
  const port = await listening(app)
  {
    await using proxy = await before(port, '2')
    const one = openClientOfHttp2(proxy.port)
    expect(await one.ask('/')).toBe(502)
    await eventually(() => isReset)
    one.close()
  }
  app.close()
})

test('an app of HTTP/2 that was away is asked as soon as it is back', async () => {
  const start = async (port = 0) => {
    const app = createHttp2()
    const sessions = new Set<{ destroy(): void }>()
    app.on('session', (session) => sessions.add(session))
    app.on('stream', (stream) => {
      stream.respond({ ':status': 200 })
      stream.end('good')
    })
    return {
      port: await listening(app, port),
      async stop() {
        for (const session of sessions) session.destroy()
        await new Promise<void>((resolve) => {
          app.close(() => resolve())
        })
      },
    }
  }
  const first = await start()
  await using proxy = await before(first.port, '2')
  const one = openClientOfHttp2(proxy.port)
  expect(await one.ask('/')).toBe(200)
  await first.stop()
  await expect.poll(() => one.ask('/')).toBe(502)
  const again = await start(first.port)
  expect(await one.ask('/')).toBe(200)
  one.close()
  await again.stop()
})
