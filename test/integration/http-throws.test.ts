/** What would have been thrown in an event of a connection, and so have ended the process with everybody's sessions. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { webSocketAccept } from '../../protocols/http/wire/web-socket-accept.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { FakeSession } from '../fakes/gate.ts'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
beforeAll(async () => {
  site = await startHttpSite({ gate: { level: 'admin' } })
})
afterEach(() => eventually(() => site.server.serving === 0))
afterAll(async () => {
  expect(site.server.crashes).toEqual([])
  await site.close()
})

const good = `Host: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n`
const opening =
  `Host: wiki.${domain}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
const statusesOf = (told: string): string[] =>
  [...told.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((found) => found[1]!)

test('a WebSocket behind a request that is not answered yet is a request as any other', async () => {
  const told = await site.raw(
    `GET /before HTTP/1.1\r\n${good}\r\nGET /behind HTTP/1.1\r\n${opening}Authorization: Bearer ${apiToken}\r\n\r\n`,
  )
  expect(statusesOf(told)).toEqual(['200', '200'])
  expect(site.reached.map(({ url }) => url)).toEqual(['/before', '/behind'])
  expect(site.reached.at(-1)!.headers.upgrade).toBeUndefined()
})

test('nor do strangers bring it down so', async () => {
  const host = `Host: wiki.${domain}\r\n`
  const told = await site.raw(
    `GET /before HTTP/1.1\r\n${host}\r\nGET /behind HTTP/1.1\r\n${opening}\r\n`,
  )
  expect(statusesOf(told)).toEqual(['401', '401'])
})

test('a tunnel behind a request that is not answered yet ends the connection, with nothing in the middle of an answer', async () => {
  const told = await site.raw(
    `GET /first HTTP/1.1\r\n${good}\r\nCONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n`,
  )
  expect(told).toBe('')
})

const full = new SallyportError('audit-full', 'the spool is full')

/** Two requests on one connection; between them something happens to their session. */
async function inBetween(
  happens: (session: FakeSession) => void,
  second: string,
): Promise<string[]> {
  const socket = await site.connect()
  let told = ''
  socket.on('data', (chunk: Buffer) => (told += chunk.toString('latin1')))
  socket.on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(`GET /one HTTP/1.1\r\n${good}\r\n`)
  await expect.poll(() => statusesOf(told)).toEqual(['200'])
  happens(site.gate.sessions.at(-1)!)
  socket.write(second)
  await expect.poll(() => statusesOf(told).length).toBe(2)
  socket.end()
  await closed
  return statusesOf(told)
}

const get = `GET /two HTTP/1.1\r\n${good}Connection: close\r\n\r\n`
const webSocket = `GET /two HTTP/1.1\r\n${opening}Authorization: Bearer ${apiToken}\r\n\r\n`

test.each([
  ['request', get],
  ['WebSocket', webSocket],
])('a %s that cannot be recorded is refused, and reaches nobody', async (_what, second) => {
  const before = site.reached.length
  const statuses = await inBetween((session) => {
    session.report = () => {
      throw full
    }
  }, second)
  expect(statuses).toEqual(['200', '503'])
  expect(site.reached.slice(before).map(({ url }) => url)).toEqual(['/one'])
})

/** The record of a cut is written before the cut is announced; what comes between the two is in no session any more. */
test.each([
  ['request', get],
  ['WebSocket', webSocket],
])('a %s between a cut and its announcement is told why', async (_what, second) => {
  const before = site.reached.length
  const statuses = await inBetween((session) => {
    session.report = () => {
      session.beginCut()
      setImmediate(() => session.cut())
      return 0
    }
    session.assertion = () => {
      throw new SallyportError('access-denied', 'cut')
    }
  }, second)
  expect(statuses).toEqual(['200', '403'])
  expect(site.reached.slice(before).map(({ url }) => url)).toEqual(['/one'])
})

test('a WebSocket of which the messages cannot be recorded is closed with 1011', async () => {
  site.app.once('upgrade', (request, socket) => {
    const accept = webSocketAccept(request.headers['sec-websocket-key']!)
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.resume()
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
  })
  const socket = await site.connect()
  const parts: Buffer[] = []
  socket.on('data', (chunk: Buffer) => parts.push(chunk))
  socket.on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(`GET /one HTTP/1.1\r\n${good}\r\n`)
  await eventually(() => parts.length > 0)
  const session = site.gate.sessions.at(-1)!
  const { report } = session
  session.report = (activity) => {
    if (activity.kind === 'websocket') throw full
    return report(activity)
  }
  socket.write(webSocket)
  await closed
  const told = Buffer.concat(parts)
  expect(statusesOf(told.toString('latin1'))).toEqual(['200', '101'])
  expect(told.includes(Buffer.from([0x03, 0xf3]))).toBe(true)
})
