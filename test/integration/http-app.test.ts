/** The app's side of HTTP: what arrives at real servers, and what comes back. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import {
  createServer as createTcpServer,
  type AddressInfo,
  type Server as TcpServer,
  type Socket,
} from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import type { App, AppRequest, RawHeaders } from '../../protocols/http/upstream/app.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import type { HttpTerms, Upstream } from '../../protocols/session.ts'
import type { FakeSession } from '../fakes/gate.ts'
import { ask, httpTerms, openTestApp, pathRequest } from '../fakes/http-app.ts'
import { copyCertificates, type TestCertificates } from '../fakes/tls.ts'

let certificates: TestCertificates
const opened: { app: App; session: FakeSession }[] = []
const servers: { close(): unknown; closeAllConnections?(): void }[] = []

beforeAll(async () => {
  certificates = await copyCertificates('access.localhost')
})
afterAll(() => certificates.remove())
afterEach(async () => {
  for (const { app, session } of opened.splice(0)) {
    app[Symbol.dispose]()
    await session[Symbol.asyncDispose]()
  }
  for (const server of servers.splice(0)) {
    server.closeAllConnections?.()
    server.close()
  }
})

async function listening(server: Server | TcpServer): Promise<number> {
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  return (server.address() as AddressInfo).port
}

async function appOf(
  port: number,
  terms: Partial<HttpTerms> = {},
  upstream: Partial<Upstream> = {},
  secret?: string,
): Promise<{ app: App; session: FakeSession }> {
  const made = await openTestApp(port, terms, upstream, secret)
  opened.push(made)
  return made
}

const echo = (request: IncomingMessage, response: ServerResponse): void => {
  const parts: Buffer[] = []
  request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => {
    const { method, url, rawHeaders } = request
    response.setHeader('set-cookie', ['a=1', 'b=2; Path=/'])
    response.end(JSON.stringify({ method, url, rawHeaders, body: Buffer.concat(parts).toString() }))
  })
}
interface Echoed {
  method: string
  url: string
  rawHeaders: string[]
  body: string
}
const echoed = (body: Buffer): Echoed => JSON.parse(body.toString()) as Echoed
const valuesOf = (headers: RawHeaders, name: string): string[] =>
  headers.filter((_, at) => at % 2 === 1 && headers[at - 1]!.toLowerCase() === name)

test('a request arrives as it was audited, with order and repetition of its fields', async () => {
  const { app, session } = await appOf(await listening(createServer(echo)))
  const answer = await ask(app, session, {
    ...pathRequest('/a%2Fb/..;?q=1&q=2'),
    headers: ['Accept', '*/*', 'X-Two', '1', 'x-two', '2', 'Connection', 'x-two', 'Host', 'evil'],
  })
  const { method, url, rawHeaders } = echoed(answer.body)
  expect({ method, url }).toEqual({ method: 'GET', url: '/a%2Fb/..;?q=1&q=2' })
  expect(valuesOf(rawHeaders, 'x-two')).toEqual(['1', '2'])
  expect(valuesOf(rawHeaders, 'host')).toEqual(['wiki.access.localhost'])
  expect(valuesOf(rawHeaders, 'connection')).toEqual(['keep-alive'])
  expect(answer.status).toBe(200)
  expect(valuesOf(answer.headers, 'set-cookie')).toEqual(['a=1', 'b=2; Path=/'])
})

test('the app is called by its own name where the resource says so', async () => {
  const port = await listening(createServer(echo))
  const { app, session } = await appOf(port, { host: 'resource' })
  const { rawHeaders } = echoed((await ask(app, session, pathRequest('/'))).body)
  expect(valuesOf(rawHeaders, 'host')).toEqual([`resource.internal:${port}`])
})

test.each([11, 'chunked' as const])('a body of length %s arrives whole', async (body) => {
  const { app, session } = await appOf(await listening(createServer(echo)))
  const request: AppRequest = { ...pathRequest('/'), method: 'POST', body }
  expect(echoed((await ask(app, session, request, ['hello ', 'world'])).body).body).toBe(
    'hello world',
  )
})

test('a body longer or shorter than it said never arrives as a whole request', async () => {
  let whole = 0
  const server = createServer((request, response) => {
    request.on('end', () => whole++)
    request.resume()
    request.on('close', () => response.end())
  })
  const port = await listening(server)
  for (const body of [5, 500]) {
    const { app, session } = await appOf(port)
    const request: AppRequest = { ...pathRequest('/'), method: 'POST', body }
    await expect(ask(app, session, request, ['hello ', 'world'])).rejects.toMatchObject({
      code: 'upstream-answer',
    })
  }
  expect(whole).toBe(0)
})

test.each([
  [{ kind: 'bearer' } as const, 'authorization', 'Bearer s3cret'],
  [
    { kind: 'oauth', tokenUrl: 'https://id.example/token' } as const,
    'authorization',
    'Bearer s3cret',
  ],
  [{ kind: 'basic' } as const, 'authorization', `Basic ${btoa('robot:s3cret')}`],
  [{ kind: 'header', name: 'X-Api-Key' } as const, 'x-api-key', 's3cret'],
])('the credential %j replaces what the client sent', async (credential, name, value) => {
  const { app, session } = await appOf(await listening(createServer(echo)), { credential })
  const headers = ['Authorization', 'Bearer mine', 'X-Api-Key', 'mine']
  const answer = await ask(app, session, { ...pathRequest('/'), headers })
  expect(valuesOf(echoed(answer.body).rawHeaders, name)).toEqual([value])
  expect(session.lent).toHaveLength(1)
  expect(() => session.lent[0]!.reveal()).toThrow('dropped')
})

test('a secret that no field may hold goes nowhere, and is not quoted', async () => {
  let requests = 0
  const port = await listening(createServer(() => requests++))
  const { app, session } = await appOf(port, { credential: { kind: 'bearer' } }, {}, 'a\r\nX: y')
  const refused = (await ask(app, session, pathRequest('/')).catch(
    (error: unknown) => error,
  )) as SallyportError
  expect(refused.code).toBe('secret-unavailable')
  expect(refused.message).not.toContain('X: y')
  expect(requests).toBe(0)
})

test('TLS is verified against the authority and the name of the resource', async () => {
  const tls = {
    key: certificates.read('resource', 'key'),
    cert: certificates.read('resource', 'crt'),
  }
  const port = await listening(createTlsServer(tls, echo))
  const { caPem } = certificates
  const good = await appOf(port, {}, { tls: 'verify-full', caPem })
  expect((await ask(good.app, good.session, pathRequest('/'))).status).toBe(200)
  const untrusted = await appOf(port, {}, { tls: 'verify-full' })
  await expect(ask(untrusted.app, untrusted.session, pathRequest('/'))).rejects.toMatchObject({
    code: 'upstream-tls',
  })
  const other = await appOf(port, {}, { tls: 'verify-full', caPem, serverName: 'other.internal' })
  await expect(ask(other.app, other.session, pathRequest('/'))).rejects.toMatchObject({
    code: 'upstream-tls',
  })
  const required = await appOf(port, {}, { tls: 'require' })
  expect((await ask(required.app, required.session, pathRequest('/'))).status).toBe(200)
})

test('a client certificate is shown in the handshake, and its secret is dropped', async () => {
  const server = createTlsServer(
    {
      key: certificates.read('resource', 'key'),
      cert: certificates.read('resource', 'crt'),
      ...{ ca: certificates.caPem, requestCert: true, rejectUnauthorized: true },
    },
    (request, response) => {
      response.end((request.socket as TLSSocket).getPeerCertificate().subject.CN)
    },
  )
  const port = await listening(server)
  const tls = { tls: 'verify-full', caPem: certificates.caPem } as const
  const pem = certificates.read('client', 'crt') + certificates.read('client', 'key')
  const credential = { kind: 'client-certificate' } as const
  const { app, session } = await appOf(port, { credential }, tls, pem)
  const answers = [1, 2].map(() => ask(app, session, pathRequest('/')))
  for (const { body } of await Promise.all(answers)) expect(body.toString()).toBe('client')
  expect(session.lent).toHaveLength(1)
  expect(() => session.lent[0]!.reveal()).toThrow('dropped')
  const bare = await appOf(port, {}, tls)
  await expect(ask(bare.app, bare.session, pathRequest('/'))).rejects.toMatchObject({
    code: 'upstream-tls',
  })
})

test('an app that does not answer is given up after its time', async () => {
  const port = await listening(createServer(() => {}))
  const limits = { ...httpTerms().limits, answerMs: 100 }
  const { app, session } = await appOf(port, { limits })
  await expect(ask(app, session, pathRequest('/'))).rejects.toMatchObject({
    code: 'upstream-timeout',
  })
})

test('answers that are none are told apart from answers, and nothing is asked twice', async () => {
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n',
    `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`,
    'nonsense\r\n\r\n',
    '',
  ]
  let asked = 0
  const server = createTcpServer((socket: Socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      asked++
      socket.end(answers[asked - 1] ?? '')
    })
  })
  const { app, session } = await appOf(await listening(server))
  for (const text of answers) {
    const failed = ask(app, session, pathRequest('/'))
    await expect(failed, text.slice(0, 80)).rejects.toMatchObject({ code: 'upstream-answer' })
  }
  expect(asked).toBe(answers.length)
})

test('early hints and trailers pass', async () => {
  const server = createServer((_request, response) => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' })
    response.writeHead(200, { trailer: 'x-sum' })
    response.write('hello')
    response.addTrailers({ 'x-sum': '5' })
    response.end()
  })
  const { app, session } = await appOf(await listening(server))
  const answer = await ask(app, session, pathRequest('/'))
  expect(answer.informational).toEqual([[103, ['Link', '</a.css>; rel=preload']]])
  expect(answer.trailers).toEqual(['x-sum', '5'])
})

test('what the client does not take is not read from the app', async () => {
  let written = 0
  const server = createServer((_request, response) => {
    const chunk = Buffer.alloc(65_536)
    const more = (): void => {
      while (!response.destroyed && written < 1 << 28) {
        written += chunk.length
        if (!response.write(chunk)) return
      }
    }
    response.on('drain', more)
    more()
  })
  const { app, session } = await appOf(await listening(server))
  const first = Promise.withResolvers<void>()
  const call = app.send(pathRequest('/'), {
    head() {},
    data() {
      first.resolve()
      return false
    },
    end() {},
    failed() {},
  })
  await first.promise
  let before = -1
  while (before !== written) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(written).toBeLessThan(1 << 26)
  call.resume()
  call.abort()
  expect(session.signal.aborted).toBe(false)
})

test('a cut ends a stream of events at once', async () => {
  let live = 0
  const server = createServer((_request, response) => {
    live++
    response.on('close', () => live--)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: 1\n\n')
  })
  const { app, session } = await appOf(await listening(server))
  const first = Promise.withResolvers<void>()
  const over = Promise.withResolvers<SallyportError>()
  app.send(pathRequest('/events'), {
    head() {},
    data() {
      first.resolve()
      return true
    },
    end() {},
    failed: over.resolve,
  })
  await first.promise
  session.cut()
  expect((await over.promise).code).toBe('upstream-answer')
  await expect.poll(() => live).toBe(0)
})

test('a WebSocket is opened with a key of our own, and only with what was offered', async () => {
  const server = createServer()
  const sockets = new WebSocketServer({ server, perMessageDeflate: true })
  sockets.on('connection', (socket) => socket.send('hello'))
  const seen: IncomingMessage[] = []
  server.on('upgrade', (request) => seen.push(request))
  const port = await listening(server)
  const upgrade = async (terms: Partial<HttpTerms>): Promise<RawHeaders> => {
    const { app, session } = await appOf(port, terms)
    const done = Promise.withResolvers<RawHeaders>()
    const headers = [
      'Sec-WebSocket-Extensions',
      'x-own, permessage-deflate; client_max_window_bits',
    ]
    session.forwardCall(() => {
      app.upgrade(
        { ...pathRequest('/ws'), headers },
        {
          head: (status) => done.reject(new Error(`answered ${status}`)),
          data: () => true,
          end() {},
          failed: done.reject,
          switched(agreed, stream: Duplex) {
            stream.once('data', () => done.resolve(agreed))
          },
        },
      )
    })
    return done.promise
  }
  const agreed = await upgrade({})
  expect(valuesOf(agreed, 'sec-websocket-extensions')).toEqual(['permessage-deflate'])
  expect(valuesOf(agreed, 'sec-websocket-accept')).toEqual([])
  const recorded = { ...httpTerms().recorded, webSocketText: true }
  expect(valuesOf(await upgrade({ recorded }), 'sec-websocket-extensions')).toEqual([])
  expect(seen[0]?.headers['sec-websocket-extensions']).toBe(
    'permessage-deflate; client_max_window_bits',
  )
  expect(seen[1]?.headers['sec-websocket-extensions']).toBeUndefined()
})

test.each([
  ['a wrong accept', 'Sec-WebSocket-Accept: AAAA'],
  ['none', 'X: y'],
])('an app that agrees to a WebSocket with %s is not believed', async (_name, line) => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write(`HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${line}\r\n\r\n`)
    })
  })
  const { app } = await appOf(await listening(server))
  const failed = await new Promise<SallyportError>((resolve, reject) => {
    app.upgrade(pathRequest('/ws'), {
      head: reject,
      data: () => true,
      end: reject,
      failed: resolve,
      switched: reject,
    })
  })
  expect(failed.code).toBe('upstream-answer')
})

test('an app that refuses a WebSocket is heard', async () => {
  const server = createServer()
  server.on('upgrade', (_request, socket: Duplex) => {
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n')
  })
  const { app } = await appOf(await listening(server))
  const status = await new Promise<number>((resolve, reject) => {
    app.upgrade(pathRequest('/ws'), {
      head: resolve,
      data: () => true,
      end() {},
      failed: reject,
      switched: reject,
    })
  })
  expect(status).toBe(403)
})
