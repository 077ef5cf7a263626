/** What takes nothing, or asks for nothing, keeps its place for a bounded time only; what goes on, however slowly, stays. */
import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { WebSocketServer, type WebSocket } from 'ws'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { startRelay } from '../fakes/relay.ts'

const sendMs = 1_000
const requestHeadMs = 200

let site: HttpSite
let sockets: WebSocketServer
const ends: (() => unknown)[] = []
beforeAll(async () => {
  const limits = { requestHeadMs, sendMs, unadmittedMs: 400 }
  site = await startHttpSite({ limits })
  sockets = new WebSocketServer({ server: site.app })
  sockets.on('connection', (socket: WebSocket) => {
    const more = (): void =>
      socket.send(part, (error) => {
        if (!error) more()
      })
    more()
  })
  site.answer = (request, response) => {
    if (request.url === '/short') response.end('short')
    else if (request.url === '/nothing') response.writeHead(204).end()
    else {
      const more = (): void => {
        while (!response.destroyed && response.write(part)) continue
      }
      response.on('drain', more)
      more()
    }
  }
})
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  site.server.logged.length = 0
})
afterAll(async () => {
  for (const socket of sockets.clients) socket.terminate()
  sockets.close()
  await site.close()
})

const part = Buffer.alloc(65_536)

const head = (path: string, more = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n${more}\r\n`
const webSocketHead = head(
  '/live',
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
)

async function connect(): Promise<TLSSocket> {
  const socket = await site.connect()
  socket.removeAllListeners('error')
  socket.on('error', () => {})
  ends.push(() => socket.destroy())
  return socket
}

function openHttp2(settings: object = {}, port = site.server.port): ClientHttp2Session {
  const client = connectHttp2(`https://127.0.0.1:${port}`, {
    ...{ ca: site.certificates.caPem, servername: `wiki.${domain}`, settings },
  })
  client.on('error', () => {})
  ends.push(() => client.destroy())
  return client
}

const fields = (path: string) => ({
  ...{ ':path': path, ':authority': `wiki.${domain}`, authorization: `Bearer ${apiToken}` },
})

/** The one outcome of what was given up, whoever began it. */
async function expectGivenUp(text: string): Promise<void> {
  const found = () => site.gate.records.find((record) => record.text === text)
  await eventually(() => found()?.outcomes.length === 1)
  expect(found()!.outcomes[0]).toMatchObject({
    ...{ status: 'cancelled', errorCode: 'client-stalled' },
    errorText: expect.stringContaining('took nothing') as string,
  })
  expect(site.server.logged).toContainEqual({
    ...{ level: 'info', message: 'an answer was given up' },
    fields: expect.objectContaining({ code: 'client-stalled' }) as object,
  })
}

test('an answer of HTTP/1.1 that its client does not read ends with its connection', async () => {
  const socket = await connect()
  socket.pause()
  socket.write(head('/unread'))
  await eventually(() => site.server.serving === 1)
  await eventually(() => site.server.serving === 0)
  await expectGivenUp('GET /unread')
})

test('a WebSocket that its client does not read ends', async () => {
  const socket = await connect()
  socket.pause()
  socket.write(webSocketHead)
  await eventually(() => sockets.clients.size === 1)
  await eventually(() => site.server.serving === 0 && sockets.clients.size === 0)
  await expectGivenUp('WEBSOCKET /live')
})

test.each(['HTTP/1.1', 'HTTP/2', 'a WebSocket'])(
  '%s: a client that takes a little at a time keeps its download',
  async (name) => {
    let read = 0
    let isOver = false
    const stream = name === 'HTTP/2' ? openHttp2().request(fields('/endless')) : await connect()
    if (name !== 'HTTP/2') stream.write(name === 'HTTP/1.1' ? head('/endless') : webSocketHead)
    stream.on('error', () => {})
    stream.on('close', () => (isOver = true))
    let left = 0
    stream.on('data', ({ length }: Buffer) => {
      read += length
      left -= length
      if (left > 0) return
      stream.pause()
      setTimeout(() => {
        left = 512 * 1024
        stream.resume()
      }, sendMs / 10)
    })
    await eventually(() => read > 0)
    const sinceMs = performance.now()
    await eventually(() => isOver || performance.now() - sinceMs > 3 * sendMs)
    expect(isOver).toBe(false)
    const before = read
    await eventually(() => isOver || read > before)
    expect(isOver).toBe(false)
  },
)

test('a stream of HTTP/2 whose window stays shut is reset, and its connection goes on', async () => {
  const client = openHttp2({ initialWindowSize: 0 })
  const stalled = client.request(fields('/shut'))
  stalled.on('error', () => {})
  await expectGivenUp('GET /shut')
  stalled.resume()
  await eventually(() => stalled.closed)
  expect(stalled.rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR)
  // As long as a connection that does not answer would have.
  const sinceMs = performance.now()
  await eventually(() => performance.now() - sinceMs > 2 * sendMs)
  const next = client.request(fields('/nothing'))
  const status = await new Promise((resolve) =>
    next.once('response', (headers) => resolve(headers[':status'])),
  )
  expect(status).toBe(204)
})

test('a connection of HTTP/2 that takes nothing at all ends', async () => {
  const relay = await startRelay(site.server.port)
  ends.push(() => relay.close())
  const client = openHttp2({}, relay.port)
  const flowing = client.request(fields('/silent'))
  flowing.on('error', () => {})
  await new Promise((resolve) => flowing.once('data', resolve))
  relay.silence()
  await eventually(() => site.server.serving === 0)
  await expectGivenUp('GET /silent')
})

test('what nobody takes is not kept for strangers either, and their connection less long than others', async () => {
  const client = openHttp2({ initialWindowSize: 0 })
  const { authorization: _, ...nobody } = fields('/short')
  const stream = client.request(nobody)
  stream.on('error', () => {})
  const status = await new Promise((resolve) =>
    stream.once('response', (headers) => resolve(headers[':status'])),
  )
  expect(status).toBe(401)
  await new Promise((resolve) => stream.once('close', resolve))
  await new Promise((resolve) => client.once('close', resolve))
})

test('a connection counts as a handshake until somebody was admitted on it', async () => {
  const doneBefore = site.server.handshakesDone
  const socket = await connect()
  let told = ''
  socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
  socket.write(head('/short').replace(/Authorization.*\r\n/, ''))
  await eventually(() => told.includes('401'))
  expect(site.server.handshakesDone).toBe(doneBefore)
  socket.write(head('/short'))
  await eventually(() => told.endsWith('short'))
  expect(site.server.handshakesDone).toBe(doneBefore + 1)
  // It is given the time of those who were let in.
  const strangers = await Promise.all([connect(), connect()])
  for (const stranger of strangers) stranger.resume()
  await Promise.all(strangers.map((each) => new Promise((resolve) => each.once('close', resolve))))
  await eventually(() => site.server.handshakesDone === doneBefore + 3)
  told = ''
  socket.write(head('/short'))
  await eventually(() => told.endsWith('short'))
  expect(site.server.handshakesDone).toBe(doneBefore + 3)
})
