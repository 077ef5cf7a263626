/** WebSockets through the relay, between the `ws` client and the `ws` server. */
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex, Writable } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { openApp } from '../../protocols/http/upstream.ts'
import { webSocketAccept } from '../../protocols/http/wire/web-socket-accept.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { relayWebSocket, type WebSocketRelay } from '../../protocols/http/relay/web-socket.ts'
import { createFakeGate, type FakeSession } from '../fakes/gate.ts'
import { httpTerms, pathRequest, testHost } from '../fakes/http-app.ts'

interface Site {
  readonly url: string
  readonly session: FakeSession
  /** Relays that ended. */
  readonly ended: () => number
  close(): void
}
const open: Site[] = []
const clients: WebSocket[] = []
afterEach(() => {
  for (const client of clients.splice(0)) client.terminate()
  for (const site of open.splice(0)) site.close()
})

/** A server that relays every WebSocket to `serve`. */
async function site(
  serve: (socket: WebSocket, request: IncomingMessage) => void,
  {
    isTextRecorded = false,
    limits = {},
  }: { isTextRecorded?: boolean; limits?: Partial<Limits> } = {},
): Promise<Site> {
  const app = createServer()
  const sockets = new WebSocketServer({ server: app, perMessageDeflate: { threshold: 0 } })
  sockets.on('connection', serve)
  const port = await listen(app)
  const gate = createFakeGate({
    upstream: { host: '127.0.0.1', port, serverName: 'app.internal', tls: 'disable' },
    ...{ account: 'robot', secret: 's3cret' },
    http: httpTerms({ recorded: { ...httpTerms().recorded, webSocketText: isTextRecorded } }),
  })
  const session = (await gate.admit({
    evidence: { kind: 'client-certificate', certificate: Buffer.alloc(0) },
    ...{ protocol: 'http', resource: 'wiki', wanted: '' },
    ...{ remoteAddress: '127.0.0.1', remotePort: 1, attributes: {} },
  })) as FakeSession
  const host = { ...testHost, limits: { ...testHost.limits, ...limits } }
  const kept = openApp(session, host)
  let ended = 0
  const front = createServer()
  front.on('upgrade', (request: IncomingMessage, client: Duplex, clientHead: Buffer) => {
    const { url = '/', rawHeaders, headers } = request
    session.forwardCall(() => {
      kept.upgrade(
        { ...pathRequest(url), headers: rawHeaders },
        {
          head: (status) => client.end(`HTTP/1.1 ${status} No\r\n\r\n`),
          data: () => true,
          end() {},
          failed: () => client.destroy(),
          switched(agreed, stream, appHead) {
            const lines = agreed.flatMap((name, at) =>
              at % 2 === 0 ? [`${name}: ${agreed[at + 1]}\r\n`] : [],
            )
            const accept = webSocketAccept(headers['sec-websocket-key'] ?? '')
            client.write(
              `HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n${lines.join('')}\r\n`,
            )
            const extensions = agreed.some(
              (name) => name.toLowerCase() === 'sec-websocket-extensions',
            )
            void relayWebSocket({
              ...{
                session,
                held: drainsOf(session),
                host,
                exchange: { givenUp: undefined },
                request: 0,
                target: url,
                client,
                clientHead,
              },
              ...{ app: stream, appHead, extensions: extensions ? 'permessage-deflate' : '' },
            }).then(() => ended++)
          },
        },
      )
    })
  })
  const made: Site = {
    url: `ws://127.0.0.1:${await listen(front)}/ws`,
    session,
    ended: () => ended,
    close() {
      kept[Symbol.dispose]()
      void session[Symbol.asyncDispose]()
      for (const server of [app, front]) {
        server.closeAllConnections()
        server.close()
      }
      sockets.close()
    },
  }
  open.push(made)
  return made
}

/** As a `HeldLease` passes it on. */
function drainsOf(session: FakeSession): WebSocketRelay['held'] {
  const drains = new Map<Writable, () => void>()
  session.onDrain((target) => {
    for (const [each, run] of drains) {
      if (target === undefined ? !each.writableNeedDrain : target === each) run()
    }
  })
  return {
    awaitDrain: (target, run) => void drains.set(target, run),
    forgetDrain: (target) => void drains.delete(target),
  }
}

async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  return (server.address() as AddressInfo).port
}

async function dial(
  url: string,
  options: object = {},
  onSocket: (raw: Duplex) => void = () => {},
): Promise<WebSocket> {
  const client = new WebSocket(url, options)
  client.once('upgrade', ({ socket }) => onSocket(socket))
  clients.push(client)
  await new Promise((resolve, reject) => {
    client.once('open', resolve)
    client.once('error', reject)
  })
  return client
}

const closed = (socket: WebSocket): Promise<[number, string]> =>
  new Promise((resolve) => {
    socket.once('close', (code, reason) => resolve([code, reason.toString()]))
  })
const message = (socket: WebSocket): Promise<Buffer> =>
  new Promise((resolve) => {
    socket.once('message', (data: Buffer) => resolve(data))
  })
const echo = (socket: WebSocket): void =>
  void socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))

test('messages of any size pass both ways and are counted', async () => {
  const { url, session, ended } = await site(echo)
  const client = await dial(url, { perMessageDeflate: false })
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 3_000_000]) {
    const sent = Buffer.alloc(size, size & 0xff)
    const answered = message(client)
    client.send(sent)
    expect((await answered).equals(sent), String(size)).toBe(true)
  }
  client.close(1000, 'done')
  expect(await closed(client)).toEqual([1000, 'done'])
  await expect.poll(ended).toBe(1)
  const [record] = session.records
  expect(record).toMatchObject({ kind: 'websocket', text: 'WEBSOCKET /ws', path: '/ws' })
  expect(record?.outcomes).toMatchObject([
    { status: 'ok', tag: 'closed 1000, frames: 8 up, 8 down' },
  ])
  expect(record?.outcomes[0]?.bytesUp).toBeGreaterThan(3_131_198)
})

test('compressed messages pass where nothing is recorded', async () => {
  const { url } = await site(echo)
  const client = await dial(url, { perMessageDeflate: { threshold: 0 } })
  expect(client.extensions).toBe('permessage-deflate')
  const answered = message(client)
  client.send('hello '.repeat(1_000))
  expect((await answered).toString()).toBe('hello '.repeat(1_000))
})

test('text is recorded where the resource says so, and then nothing is compressed', async () => {
  const { url, session, ended } = await site(echo, { isTextRecorded: true })
  const client = await dial(url)
  expect(client.extensions).toBe('')
  for (const text of ['hällo', 'x'.repeat(40_000)]) {
    const answered = message(client)
    client.send(text)
    await answered
  }
  client.send(Buffer.from('binary'))
  client.close()
  await expect.poll(ended).toBe(1)
  const [recording] = session.recordings
  const said = (from: string): string =>
    Buffer.concat(
      (recording?.parts ?? []).flatMap((part) =>
        'from' in part && part.from === from ? [part.bytes] : [],
      ),
    ).toString()
  const both = `hällo\n${'x'.repeat(40_000)}\n`
  expect([said('client'), said('upstream')]).toEqual([both, both])
  expect(recording).toMatchObject({ kind: 'stream', ended: true, header: { activity: 1 } })
})

test('of its text no more is recorded than the limit says, and all of it passes', async () => {
  const { url, session, ended } = await site(echo, {
    isTextRecorded: true,
    limits: { webSocketTextBytesMax: 14 },
  })
  const client = await dial(url)
  for (const text of ['hello', 'there', 'again']) {
    const answered = message(client)
    client.send(text)
    expect((await answered).toString()).toBe(text)
  }
  client.close()
  await expect.poll(ended).toBe(1)
  const parts = session.recordings[0]!.parts.map((part) =>
    'bytes' in part ? part.bytes.toString() : part,
  )
  expect(parts).toEqual([
    ...['hello\n', 'hello\n', 'th'],
    { mark: 'only the first 14 bytes of text are recorded' },
  ])
})

test('while its recording is full no more is read, and it goes on as soon as that is not', async () => {
  const heard: string[] = []
  const { url, session } = await site(
    (socket) => {
      socket.on('message', (data: Buffer) => heard.push(data.toString()))
    },
    { isTextRecorded: true },
  )
  const client = await dial(url)
  session.recordingsFull = true
  client.send('one')
  await expect.poll(() => heard).toEqual(['one'])
  client.send('two')
  await new Promise((resolve) => {
    setTimeout(resolve, 100)
  })
  expect(heard).toEqual(['one'])
  session.recordingsFull = false
  await expect.poll(() => heard).toEqual(['one', 'two'])
})

test('a cut closes with 1008 and the reason, and nothing reaches the app any more', async () => {
  const heard: string[] = []
  const { url, session, ended } = await site((socket) => {
    socket.on('message', (data: Buffer) => heard.push(data.toString()))
  })
  const client = await dial(url)
  client.send('before')
  await expect.poll(() => heard).toEqual(['before'])
  session.cut('grant-revoked', 'your grant was revoked')
  client.send('after')
  expect(await closed(client)).toEqual([1008, 'your grant was revoked'])
  await expect.poll(ended).toBe(1)
  expect(heard).toEqual(['before'])
  expect(session.records[0]?.outcomes).toMatchObject([{ status: 'cancelled' }])
})

test('a cut within a message of many frames still closes between two of them', async () => {
  const { url, session } = await site((socket) => {
    const more = (): void =>
      socket.send(Buffer.alloc(1_000), { fin: false }, () => setImmediate(more))
    more()
  })
  const client = await dial(url, { perMessageDeflate: false })
  await expect.poll(() => session.downstreamBytes).toBeGreaterThan(100_000)
  session.cut()
  expect(await closed(client)).toEqual([1008, 'your grant has ended'])
})

test.each(['client', 'app'] as const)('a malformed frame of the %s closes both', async (who) => {
  const appSide = Promise.withResolvers<{ socket: WebSocket; raw: Duplex }>()
  const { url, session, ended } = await site((socket, { socket: raw }) => {
    socket.on('error', () => {})
    appSide.resolve({ socket, raw })
  })
  const clientSide = Promise.withResolvers<Duplex>()
  const client = await dial(url, {}, clientSide.resolve)
  client.on('error', () => {})
  const app = await appSide.promise
  const both = Promise.all([closed(client), closed(app.socket)])
  // An unknown opcode; masked as each side must.
  if (who === 'client') (await clientSide.promise).write(Buffer.from([0x83, 0x80, 0, 0, 0, 0]))
  else app.raw.write(Buffer.from([0x83, 0x00]))
  expect((await both).map(([code]) => code)).toEqual([1002, 1002])
  await expect.poll(ended).toBe(1)
  expect(session.records[0]?.outcomes).toMatchObject([
    { status: 'error', errorCode: 'protocol-violation', errorText: `the ${who} sent opcode 3` },
  ])
})

test('an app that dies ends the WebSocket', async () => {
  const { url, ended } = await site((socket) => socket.terminate())
  const client = await dial(url)
  expect((await closed(client))[0]).toBe(1006)
  await expect.poll(ended).toBe(1)
})

test('a client that dies ends the WebSocket at the app', async () => {
  const gone = Promise.withResolvers<void>()
  const { url, ended } = await site((socket) => void socket.on('close', () => gone.resolve()))
  const client = await dial(url)
  client.terminate()
  await gone.promise
  await expect.poll(ended).toBe(1)
})

test('a client that reads nothing holds the app back', async () => {
  let sent = 0
  const { url, session } = await site((socket) => {
    const more = (): void => {
      sent += 65_536
      if (sent < 1 << 28) socket.send(Buffer.alloc(65_536), () => setImmediate(more))
    }
    more()
  })
  const client = await dial(url, { perMessageDeflate: false })
  client.pause()
  let before = -1
  while (before !== sent) {
    before = sent
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(sent).toBeLessThan(1 << 26)
  session.cut()
})
