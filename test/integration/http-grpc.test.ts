/** HTTP/2 to an app: gRPC by its own client and server, through the app's side of the engine; streams, limits and goodbyes. */
import * as grpc from '@grpc/grpc-js'
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { App, AppRequest } from '../../protocols/http/upstream/app.ts'
import type { HttpTerms, Upstream } from '../../protocols/session.ts'
import type { FakeSession } from '../fakes/gate.ts'
import { ask, httpTerms, openTestApp, pathRequest } from '../fakes/http-app.ts'
import { copyCertificates, type TestCertificates } from '../fakes/tls.ts'

let certificates: TestCertificates
const ends: (() => unknown)[] = []
beforeAll(async () => {
  certificates = await copyCertificates('access.localhost')
})
afterAll(() => certificates.remove())
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end()
})

async function listen(server: Http2Server | HttpsServer): Promise<number> {
  const sessions = new Set<ServerHttp2Session>()
  server.on('session', (session: ServerHttp2Session) => sessions.add(session))
  server.on('sessionError', () => {})
  ends.push(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  return (server.address() as AddressInfo).port
}

async function appOf(
  port: number,
  terms: Partial<HttpTerms> = {},
  upstream: Partial<Upstream> = {},
): Promise<{ app: App; session: FakeSession }> {
  const { app, session } = await openTestApp(port, { version: '2', ...terms }, upstream)
  ends.push(() => {
    app[Symbol.dispose]()
    void session[Symbol.asyncDispose]()
  })
  return { app, session }
}

/** A front of HTTP/2 that relays as the engine does: one exchange of the app for each stream. */
async function front(app: App, session: FakeSession): Promise<number> {
  const server = createServer()
  server.on('stream', (stream: ServerHttp2Stream, headers, flags, rawHeaders: string[]) => {
    stream.on('error', () => {})
    const plain = rawHeaders.flatMap((name, at) =>
      at % 2 === 0 && !name.startsWith(':') ? [name, rawHeaders[at + 1]!] : [],
    )
    const hasBody = (flags & constants.NGHTTP2_FLAG_END_STREAM) === 0
    const request: AppRequest = {
      method: String(headers[':method']),
      target: String(headers[':path']),
      authority: 'wiki.access.localhost',
      headers: plain,
      body: hasBody ? 'chunked' : undefined,
    }
    session.forwardCall(() => {
      let trailers: readonly string[] = []
      const call = app.send(request, {
        head(status, _text, fields, isWhole) {
          const how = isWhole ? { endStream: true } : { waitForTrailers: true }
          stream.respond([':status', String(status), ...fields], how)
        },
        data: (chunk) => {
          const mayGoOn = stream.write(chunk)
          if (!mayGoOn) stream.once('drain', () => call.resume())
          return mayGoOn
        },
        end(fields) {
          trailers = fields
          stream.end()
        },
        failed: () => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
      })
      stream.on('wantTrailers', () => {
        const sent: Record<string, string> = {}
        for (let at = 0; at < trailers.length; at += 2) sent[trailers[at]!] = trailers[at + 1]!
        stream.sendTrailers(sent)
      })
      stream.on('data', (chunk: Buffer) => void session.forward(call.body, chunk))
      stream.on('end', () => session.forwardCall(() => call.body.end()))
      stream.on('aborted', () => call.abort())
      stream.on('close', () => {
        if (stream.rstCode !== 0) call.abort()
      })
    })
  })
  return await listen(server)
}

const text = {
  serialize: (value: string): Buffer => Buffer.from(value),
  deserialize: (bytes: Buffer): string => bytes.toString(),
}
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  ...{ path: `/test.Echo/${path}`, requestStream, responseStream },
  ...{ requestSerialize: text.serialize, requestDeserialize: text.deserialize },
  ...{ responseSerialize: text.serialize, responseDeserialize: text.deserialize },
})
const echoMethods = {
  once: method('once', false, false),
  fails: method('fails', false, false),
  many: method('many', false, true),
  both: method('both', true, true),
}

async function grpcSite(): Promise<{ client: grpc.Client; session: FakeSession }> {
  const server = new grpc.Server()
  server.addService(echoMethods, {
    once: (call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) => {
      const told = new grpc.Metadata()
      told.set('x-credential', call.metadata.get('authorization')[0] ?? '')
      call.sendMetadata(told)
      done(null, `got ${call.request}`)
    },
    fails: (_call: unknown, done: grpc.sendUnaryData<string>) =>
      done({ code: grpc.status.NOT_FOUND, details: 'there is none' }),
    many(call: grpc.ServerWritableStream<string, string>) {
      for (let index = 0; index < 100; index++) call.write(`${call.request} ${index}`)
      call.end()
    },
    both(call: grpc.ServerDuplexStream<string, string>) {
      call.on('data', (part: string) => call.write(`got ${part}`))
      call.on('end', () => call.end())
      call.on('error', () => {})
    },
  })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  ends.push(() => server.forceShutdown())
  const { app, session } = await appOf(port, { credential: { kind: 'bearer' } })
  const client = new grpc.Client(
    `127.0.0.1:${await front(app, session)}`,
    grpc.credentials.createInsecure(),
  )
  ends.push(() => client.close())
  return { client, session }
}

test('gRPC works: one answer, with what was injected', async () => {
  const { client } = await grpcSite()
  const metadata = Promise.withResolvers<grpc.Metadata>()
  const answer = await new Promise((resolve, reject) => {
    const call = client.makeUnaryRequest(
      ...([echoMethods.once.path, text.serialize, text.deserialize, 'hello' as string] as const),
      (error, value) => (error === null ? resolve(value) : reject(error)),
    )
    call.on('metadata', metadata.resolve)
  })
  expect(answer).toBe('got hello')
  expect((await metadata.promise).get('x-credential')).toEqual(['Bearer s3cret'])
})

test('gRPC works: an error that is only trailers', async () => {
  const { client } = await grpcSite()
  const error = await new Promise<grpc.ServiceError | null>((resolve) => {
    client.makeUnaryRequest(
      ...([echoMethods.fails.path, text.serialize, text.deserialize, 'hello' as string] as const),
      (failed) => resolve(failed),
    )
  })
  expect(error).toMatchObject({ code: grpc.status.NOT_FOUND, details: 'there is none' })
})

test('gRPC works: a stream of answers', async () => {
  const { client } = await grpcSite()
  const call = client.makeServerStreamRequest(
    ...([echoMethods.many.path, text.serialize, text.deserialize, 'part' as string] as const),
  )
  const parts: string[] = []
  for await (const part of call) parts.push(part as string)
  expect(parts).toHaveLength(100)
  expect(parts.at(-1)).toBe('part 99')
})

test('gRPC works: both ways at once, and a cut ends it', async () => {
  const { client, session } = await grpcSite()
  const call = client.makeBidiStreamRequest(echoMethods.both.path, text.serialize, text.deserialize)
  const failed = new Promise<grpc.ServiceError>((resolve) => {
    call.once('error', (error) => resolve(error as grpc.ServiceError))
  })
  for (const part of ['one', 'two']) {
    const answer = new Promise((resolve) => call.once('data', resolve))
    call.write(part)
    expect(await answer).toBe(`got ${part}`)
  }
  session.cut()
  expect([grpc.status.INTERNAL, grpc.status.UNAVAILABLE]).toContain((await failed).code)
})

test('a hundred requests at a time share one connection, each with its own answer', async () => {
  let connections = 0
  let atOnce = 0
  const waiting: (() => void)[] = []
  const server = createServer((request: Http2ServerRequest, response: Http2ServerResponse) => {
    atOnce++
    waiting.push(() => response.end(request.url))
    if (atOnce === 100) for (const answer of waiting) answer()
  })
  server.on('session', () => connections++)
  const { app, session } = await appOf(await listen(server))
  const paths = Array.from({ length: 100 }, (_, at) => `/p${at}`)
  const answers = await Promise.all(paths.map((path) => ask(app, session, pathRequest(path))))
  expect(answers.map(({ body }) => body.toString())).toEqual(paths)
  expect({ connections, atOnce }).toEqual({ connections: 1, atOnce: 100 })
})

test('an app that says goodbye gets what is new on another connection', async () => {
  let connections = 0
  const server = createServer((_request, response: Http2ServerResponse) => {
    response.stream.session?.goaway()
    response.end('bye')
  })
  server.on('session', () => connections++)
  const { app, session } = await appOf(await listen(server))
  for (let index = 0; index < 3; index++) {
    expect((await ask(app, session, pathRequest('/'))).body.toString()).toBe('bye')
  }
  expect(connections).toBe(3)
})

test('a request that the app says it did not begin is sent once more, and only then', async () => {
  let asked = 0
  const server = createServer()
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {})
    asked++
    if (headers[':path'] === '/refused' && asked > 1)
      stream.respond({ ':status': 204 }, { endStream: true })
    else
      stream.close(
        headers[':path'] === '/refused'
          ? constants.NGHTTP2_REFUSED_STREAM
          : constants.NGHTTP2_INTERNAL_ERROR,
      )
  })
  const { app, session } = await appOf(await listen(server))
  expect((await ask(app, session, pathRequest('/refused'))).status).toBe(204)
  expect(asked).toBe(2)
  await expect(ask(app, session, pathRequest('/broken'))).rejects.toMatchObject({
    code: 'upstream-answer',
  })
  expect(asked).toBe(3)
})

test('an answer that breaks off is no whole answer', async () => {
  const server = createServer()
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {})
    stream.respond({ ':status': 200 })
    stream.write('part', () => {
      if (headers[':path'] === '/reset') stream.destroy(new Error('broken'))
      else stream.session?.socket.destroy()
    })
  })
  const { app, session } = await appOf(await listen(server))
  for (const path of ['/reset', '/lost']) {
    await expect(ask(app, session, pathRequest(path)), path).rejects.toMatchObject({
      code: 'upstream-answer',
    })
  }
})

test('half a body is never taken for a whole one', async () => {
  const seen: string[] = []
  const server = createServer()
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {})
    stream.on('data', () => seen.push('data'))
    stream.on('end', () => seen.push(stream.rstCode === 0 ? 'end' : 'reset'))
    stream.on('close', () => seen.push('close'))
  })
  const { app, session } = await appOf(await listen(server))
  const request: AppRequest = { ...pathRequest('/'), method: 'POST', body: 'chunked' }
  const call = app.send(request, { head() {}, data: () => true, end() {}, failed() {} })
  session.forward(call.body, Buffer.from('half'))
  await expect.poll(() => seen).toEqual(['data'])
  call.abort()
  await expect.poll(() => seen.at(-1)).toBe('close')
  expect(seen).not.toContain('end')
})

test('an app that does not answer is given up after its time', async () => {
  const port = await listen(createServer(() => {}))
  const { app, session } = await appOf(port, {
    limits: { ...httpTerms().limits, answerMs: 100 },
  })
  for (const body of [undefined, 'chunked'] as const) {
    const request: AppRequest = { ...pathRequest('/'), method: 'POST', body }
    await expect(ask(app, session, request)).rejects.toMatchObject({ code: 'upstream-timeout' })
  }
})

test('what the client does not take is not read from the app, and holds up no other stream', async () => {
  let written = 0
  const server = createServer()
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {})
    stream.respond({ ':status': 200 })
    if (headers[':path'] === '/small') {
      stream.end('small')
      return
    }
    const more = (): void => {
      while (!stream.destroyed && written < 1 << 28) {
        written += 65_536
        if (!stream.write(Buffer.alloc(65_536))) return
      }
    }
    stream.on('drain', more)
    more()
  })
  const { app, session } = await appOf(await listen(server))
  const calls = Array.from({ length: 4 }, () =>
    app.send(pathRequest('/large'), { head() {}, data: () => false, end() {}, failed() {} }),
  )
  let before = -1
  while (before !== written || before === 0) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(written).toBeLessThan(1 << 24)
  expect((await ask(app, session, pathRequest('/small'))).body.toString()).toBe('small')
  for (const call of calls) call.abort()
})

test('HTTP/2 over TLS is asked for by name, and nothing else is taken for it', async () => {
  const tls = {
    key: certificates.read('resource', 'key'),
    cert: certificates.read('resource', 'crt'),
  }
  const trust = { tls: 'verify-full', caPem: certificates.caPem } as const
  const port = await listen(
    createSecureServer(tls, (request, response: Http2ServerResponse) =>
      response.end(`${request.httpVersion} ${request.scheme} ${request.authority}`),
    ),
  )
  const { app, session } = await appOf(port, {}, trust)
  expect((await ask(app, session, pathRequest('/'))).body.toString()).toBe(
    '2.0 https wiki.access.localhost',
  )
  const old = createHttpsServer(tls)
  const other = await appOf(await listen(old), {}, trust)
  await expect(ask(other.app, other.session, pathRequest('/'))).rejects.toMatchObject({
    code: 'upstream-tls',
  })
})
