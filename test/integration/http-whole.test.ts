/** The whole engine between real clients and apps: gRPC, WebSockets, recorded bodies. */
import * as grpc from '@grpc/grpc-js'
import { createServer } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { httpTerms } from '../fakes/http-app.ts'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function started(options: Parameters<typeof startHttpSite>[0]): Promise<HttpSite> {
  const site = await startHttpSite(options)
  ends.push(() => site.close())
  return site
}

const serialize = (value: string): Buffer => Buffer.from(value)
const deserialize = (bytes: Buffer): string => bytes.toString()
const method = (path: string, isStream: boolean) => ({
  ...{ path: `/test.Echo/${path}`, requestStream: isStream, responseStream: isStream },
  ...{ requestSerialize: serialize, requestDeserialize: deserialize },
  ...{ responseSerialize: serialize, responseDeserialize: deserialize },
})
const echoMethods = {
  once: method('once', false),
  fails: method('fails', false),
  both: method('both', true),
}

test('gRPC passes from end to end, with its errors and its streams, and a cut ends it', async () => {
  const server = new grpc.Server()
  server.addService(echoMethods, {
    once: (call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) =>
      done(null, `got ${call.request} for ${call.metadata.get('authorization').join(',')}`),
    fails: (_call: unknown, done: grpc.sendUnaryData<string>) =>
      done({ code: grpc.status.NOT_FOUND, details: 'there is none' }),
    both(call: grpc.ServerDuplexStream<string, string>) {
      call.on('data', (part: string) => call.write(`got ${part}`))
      call.on('error', () => {})
    },
  })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  ends.push(() => server.forceShutdown())
  const site = await started({
    terms: {
      version: '2',
      credential: { kind: 'bearer' },
      rules: [{ path: '/**', needs: 'read' }],
    },
    gate: { upstream: { host: '127.0.0.1', port, serverName: 'app.internal', tls: 'disable' } },
  })
  const client = new grpc.Client(
    `127.0.0.1:${site.server.port}`,
    grpc.credentials.createSsl(Buffer.from(site.certificates.caPem)),
    {
      'grpc.ssl_target_name_override': `wiki.${domain}`,
      'grpc.default_authority': `wiki.${domain}:${site.server.port}`,
    },
  )
  ends.push(() => client.close())
  const metadata = new grpc.Metadata()
  metadata.set('sallyport-authorization', `Bearer ${apiToken}`)
  const once = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, serialize, deserialize, 'hello', metadata, (error, value) => {
        if (error === null) resolve(value ?? '')
        else reject(error)
      })
    })
  expect(await once(echoMethods.once.path)).toBe('got hello for Bearer the-credential')
  await expect(once(echoMethods.fails.path)).rejects.toMatchObject({
    code: grpc.status.NOT_FOUND,
    details: 'there is none',
  })
  const call = client.makeBidiStreamRequest(echoMethods.both.path, serialize, deserialize, metadata)
  const failed = new Promise<grpc.ServiceError>((resolve) => {
    call.once('error', (error) => resolve(error as grpc.ServiceError))
  })
  const first = new Promise((resolve) => call.once('data', resolve))
  call.write('one')
  expect(await first).toBe('got one')
  for (const session of site.gate.sessions) session.cut()
  expect([grpc.status.CANCELLED, grpc.status.INTERNAL]).toContain((await failed).code)
  expect(site.gate.records.map(({ kind, operation }) => `${kind} ${operation}`)).toEqual(
    Array.from({ length: 3 }, () => 'request POST'),
  )
})

test('a WebSocket passes from end to end, and a cut closes it with the reason', async () => {
  const app = createServer()
  const sockets = new WebSocketServer({ server: app })
  sockets.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => socket.send(`got ${data.toString()}`))
  })
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', () => resolve()))
  ends.push(() => {
    app.closeAllConnections()
    app.close()
  })
  const port = (app.address() as { port: number }).port
  const site = await started({
    gate: { upstream: { host: '127.0.0.1', port, serverName: 'app.internal', tls: 'disable' } },
  })
  const client = new WebSocket(`wss://127.0.0.1:${site.server.port}/ws?token=x`, {
    ...{ ca: site.certificates.caPem, servername: `wiki.${domain}` },
    headers: {
      host: `wiki.${domain}:${site.server.port}`,
      authorization: `Bearer ${apiToken}`,
    },
  })
  ends.push(() => client.terminate())
  await new Promise((resolve, reject) => {
    client.once('open', resolve)
    client.once('error', reject)
  })
  const answered = new Promise<string>((resolve) => {
    client.once('message', (data: Buffer) => resolve(data.toString()))
  })
  client.send('hello')
  expect(await answered).toBe('got hello')
  const closed = new Promise((resolve) => {
    client.once('close', (code, reason) => resolve([code, reason.toString()]))
  })
  for (const session of site.gate.sessions) session.cut('grant-revoked', 'your grant was revoked')
  expect(await closed).toEqual([1008, 'your grant was revoked'])
  await expect
    .poll(() => site.gate.records.map(({ kind, outcomes }) => [kind, outcomes[0]?.status]))
    .toEqual([
      ['request', 'ok'],
      ['websocket', 'cancelled'],
    ])
})

test('bodies are recorded where the resource says so, and no more of them', async () => {
  const site = await started({
    terms: {
      rules: [{ path: '/**', needs: 'read' }],
      recorded: { ...httpTerms().recorded, requestBodyBytes: 4, responseBodyBytes: 6 },
    },
  })
  site.answer = (_request, response) => response.end('the answer')
  const told = await site.ask({ method: 'POST', path: '/form?password=x', body: 'the form' })
  expect(told.text).toBe('the answer')
  const [recording] = site.gate.sessions.flatMap(({ recordings }) => recordings)
  expect(recording).toMatchObject({ kind: 'stream', ended: true, header: { activity: 1 } })
  expect(recording?.header.title).toBe('POST /form')
  expect(recording?.parts).toMatchObject([
    { from: 'client', bytes: Buffer.from('the ') },
    { mark: 'of the request only the first 4 bytes are recorded' },
    { from: 'upstream', bytes: Buffer.from('the an') },
    { mark: 'of the answer only the first 6 bytes are recorded' },
  ])
  expect(site.reached[0]?.body).toBe('the form')
})
