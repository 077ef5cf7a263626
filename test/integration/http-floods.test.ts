/** Clients that send much or take nothing: what is held for them stays bounded, and the next client is served. */
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { frame, preface } from '../fakes/http2-frames.ts'

let site: HttpSite
let echo: HttpSite['answer']
let sockets: WebSocketServer
const ends: (() => unknown)[] = []
beforeAll(async () => {
  site = await startHttpSite({
    gate: { level: 'write' },
    limits: { requestHeadMs: 1_000, unadmittedMs: 2_000 },
  })
  echo = site.answer
  sockets = new WebSocketServer({ server: site.app })
  sockets.on('connection', (socket) => socket.pause())
})
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  for (const socket of sockets.clients) socket.terminate()
  for (const session of site.gate.sessions) if (!session.signal.aborted) session.cut()
  site.answer = echo
  expect((await site.ask({ path: '/next' })).status).toBe(200)
  site.reached.length = 0
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  sockets.close()
  await site.close()
})

/** What the sockets of this machine hold, and some. */
const heldBytesMax = 48 * 1024 * 1024
const part = Buffer.alloc(65_536)

/** An app that sends as fast as it is read. */
function sendWithoutEnd(): { readonly bytes: number } {
  const sent = { bytes: 0 }
  site.answer = (_request, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(part)) sent.bytes += part.length
      sent.bytes += part.length
    }
    response.on('drain', more)
    more()
  }
  return sent
}

/** Once a number grows no more. */
async function settled(of: () => number): Promise<number> {
  let before = -1
  await eventually(async () => {
    before = of()
    await new Promise((resolve) => setTimeout(resolve, 300))
    return before > 0 && of() === before
  })
  return before
}

const head = (path: string, more = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n${more}\r\n`

async function connect(alpn?: readonly string[]): Promise<TLSSocket> {
  const socket = await site.connect(undefined, alpn)
  socket.removeAllListeners('error')
  socket.on('error', () => {})
  ends.push(() => socket.destroy())
  return socket
}

function openHttp2(settings: object = {}): ClientHttp2Session {
  const client = connectHttp2(`https://127.0.0.1:${site.server.port}`, {
    ...{ ca: site.certificates.caPem, servername: `wiki.${domain}`, settings },
  })
  client.on('error', () => {})
  ends.push(() => client.destroy())
  return client
}

const fields = (path: string, more: object = {}) => ({
  ...{ ':path': path, ':authority': `wiki.${domain}`, authorization: `Bearer ${apiToken}` },
  ...more,
})

test('who does not read a download of HTTP/1.1 holds the app back', async () => {
  const sent = sendWithoutEnd()
  const socket = await connect()
  socket.pause()
  socket.write(head('/endless'))
  expect(await settled(() => sent.bytes)).toBeLessThan(heldBytesMax)
})

test('a hundred streams of HTTP/2 with a window of one byte hold the app back', async () => {
  const sent = sendWithoutEnd()
  const client = openHttp2({ initialWindowSize: 1 })
  for (let index = 0; index < 100; index++) client.request(fields('/endless')).on('error', () => {})
  await eventually(() => site.reached.length === 100)
  await settled(() => sent.bytes)
  // The rest waits in the sockets of the app.
  const [session] = site.gate.sessions.slice(-1)
  expect(session!.downstreamBytes).toBeLessThan(heldBytesMax)
})

test('bodies that never come whole take no more streams than there are', async () => {
  const client = openHttp2()
  await new Promise((resolve) => client.once('remoteSettings', resolve))
  let refused = 0
  for (let index = 0; index < 400; index++) {
    const stream = client.request(fields('/', { ':method': 'POST' }), { endStream: false })
    stream.on('error', () => refused++)
    stream.write('x')
  }
  expect(await settled(() => site.reached.length)).toBeLessThanOrEqual(250)
  client.destroy()
  await eventually(() => site.gate.records.every(({ outcomes }) => outcomes.length === 1))
})

test('requests without end in a row end their connection, once those that were taken are answered', async () => {
  const held: (() => void)[] = []
  site.answer = (request, response) => {
    request.resume()
    held.push(() => void response.end())
  }
  const socket = await connect()
  socket.resume()
  let isClosed = false
  socket.once('close', () => (isClosed = true))
  socket.write(head('/row').repeat(10_000))
  await eventually(() => {
    for (const answer of held.splice(0)) answer()
    return isClosed
  })
  expect(site.reached.length).toBeLessThanOrEqual(64)
})

test('half a request on each of many connections is not waited for', async () => {
  const told: Promise<string>[] = []
  // A few at a time, each heard from its first moment on: the first may have their answer before the last are there.
  for (let round = 0; round < 20; round++) {
    const some = Array.from({ length: 10 }, async () => {
      const socket = await connect()
      const answer = new Promise<string>((resolve) => {
        let text = ''
        socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
        socket.once('close', () => resolve(text.slice(0, 12)))
      })
      socket.write(head('/half').slice(0, 40))
      told.push(answer)
    })
    await Promise.all(some)
  }
  expect(told).toHaveLength(200)
  expect([...new Set(await Promise.all(told))]).toEqual(['HTTP/1.1 408'])
  await eventually(() => site.server.serving === 0)
})

const masked = (opcode: number, payload: Buffer): Buffer =>
  Buffer.concat([Buffer.from([opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload])
const webSocketFloods: Readonly<Record<string, readonly [first: Buffer, then: Buffer]>> = {
  pings: [Buffer.alloc(0), masked(0x89, Buffer.alloc(0))],
  'messages of one byte': [Buffer.alloc(0), masked(0x82, Buffer.alloc(1))],
  'parts of one message': [masked(0x02, Buffer.alloc(1)), masked(0x00, Buffer.alloc(1))],
  'empty parts of one message': [masked(0x02, Buffer.alloc(0)), masked(0x00, Buffer.alloc(0))],
}
test.each(Object.keys(webSocketFloods))(
  'a WebSocket with %s without end waits for its app',
  async (name) => {
    const [first, then] = webSocketFloods[name]!
    const socket = await connect()
    socket.resume()
    socket.write(
      head(
        '/live',
        'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
          'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
      ),
    )
    await eventually(() => sockets.clients.size === 1)
    socket.write(first)
    const flood = Buffer.concat(Array(10_000).fill(then))
    let passed = 0
    const more = (): void => {
      if (!socket.destroyed && passed < 2 * heldBytesMax) {
        socket.write(flood, (error) => {
          if (error) return
          passed += flood.length
          more()
        })
      }
    }
    more()
    expect(await settled(() => passed)).toBeLessThan(heldBytesMax)
  },
)

test.each([
  ['pings', frame(6, 0, 0, Buffer.alloc(8))],
  ['settings', frame(4, 0, 0, Buffer.from([0, 3, 0, 0, 0, 100]))],
])('%s whose answers nobody reads end their connection', async (_name, flood) => {
  const socket = await connect(['h2'])
  socket.pause()
  socket.write(preface)
  const many = Buffer.concat(Array(10_000).fill(flood))
  let passed = 0
  const more = (): void => {
    socket.write(many, (error) => {
      if (error || passed > 2 * heldBytesMax) return
      passed += many.length
      more()
    })
  }
  more()
  await eventually(() => site.server.serving === 0)
  expect(passed).toBeLessThan(heldBytesMax)
})

test('a header that unpacks to many megabytes (HPACK bomb) is refused', async () => {
  const text = (value: string): Buffer =>
    Buffer.concat([Buffer.from([0x7f, ...lengthOf(value.length - 127)]), Buffer.from(value)])
  const lengthOf = (value: number): number[] =>
    value < 128 ? [value] : [(value & 0x7f) | 0x80, ...lengthOf(value >> 7)]
  const plain = (name: string, value: string): Buffer =>
    Buffer.concat([
      Buffer.from([0, name.length]),
      Buffer.from(name),
      Buffer.from([value.length]),
      Buffer.from(value),
    ])
  const block = Buffer.concat([
    ...[plain(':method', 'GET'), plain(':scheme', 'https'), plain(':path', '/bomb')],
    ...[plain(':authority', `wiki.${domain}`), plain('authorization', `Bearer ${apiToken}`)],
    // Kept in the table of names and values, then said again in one byte each.
    ...[
      Buffer.from([0x40, 1]),
      Buffer.from('x'),
      text('v'.repeat(3_900)),
      Buffer.alloc(10_000, 0xbe),
    ],
  ])
  const socket = await connect(['h2'])
  let told = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => (told = Buffer.concat([told, chunk])))
  socket.write(Buffer.concat([preface, frame(1, 5, 1, block)]))
  // Refused on its stream or with its connection.
  await eventually(
    () => socket.destroyed || hasFrame(told, 3) || hasFrame(told, 7) || hasFrame(told, 1),
  )
  expect(site.reached).toEqual([])
})

function hasFrame(bytes: Buffer, type: number): boolean {
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes[at + 3] === type) return true
  }
  return false
}
