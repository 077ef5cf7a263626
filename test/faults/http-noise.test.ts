/**
 * Requests bent out of shape, over HTTP/1 and HTTP/2, before an app that answers as badly, and cuts in between: the process lives, every
 * connection ends, and what reached the app is on record once. `SALLYPORT_LONG=1` makes it last; `SALLYPORT_SEED` repeats a run.
 */
import { randomInt } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { redactQuery } from '../../protocols/http/observe/redact-query.ts'
import { webSocketAccept } from '../../protocols/http/wire/web-socket-accept.ts'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { frame } from '../fakes/http2-frames.ts'

const rounds = process.env['SALLYPORT_LONG'] === '1' ? 200 : 12
const connectionsPerRound = 8
const seed = Number(process.env['SALLYPORT_SEED'] ?? randomInt(2 ** 31))

type Random = (below: number) => number

/** Mulberry32: the same numbers for the same seed. */
function random(from: number): Random {
  let state = from
  return (max) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % max
  }
}
const below = random(seed)
const oneOf = <T>(all: readonly T[]): T => all[below(all.length)]!
const noise = (max: number): Buffer =>
  Buffer.from(Array.from({ length: below(max) }, () => below(256)))

let site: HttpSite
beforeAll(async () => {
  site = await startHttpSite({
    gate: { level: 'admin', farewellMs: 50 },
    limits: {
      ...{ requestHeadMs: 150, requestBodyMs: 200, lingerMs: 200, connectionIdleMs: 400 },
      handshakeMs: 10_000,
    },
  })
  site.answer = answer
  site.app.on('upgrade', (request, socket: Duplex) => {
    const { method = '', url = '', headers, rawHeaders: raw } = request
    site.reached.push({ method, url, headers, raw, body: '', complete: true })
    socket.on('error', () => {})
    const accept = webSocketAccept(headers['sec-websocket-key'] ?? '')
    const agreed = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${agreed}`)
    socket.pipe(socket)
  })
  site.app.on('clientError', (_error, socket) => socket.destroy())
})
afterAll(() => site.close())

const badAnswers = [
  'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf',
  'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi',
  'HTTP/1.1 204 None\r\nContent-Length: 40\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
  'HTTP/1.0 200 \r\nConnection: content-length, x\r\nContent-Length: 2\r\n\r\nhi',
]
const answer: HttpSite['answer'] = (request, response) => {
  const { socket } = request
  switch (below(8)) {
    case 0:
      socket.destroy()
      return
    case 1:
    case 2:
      socket.end(bent(Buffer.from(oneOf(badAnswers)), 2))
      return
    case 3:
      response.write('begun')
      setTimeout(() => response.end('ended'), below(50))
      return
    case 4:
      request.on('end', () => response.end('after the body'))
      return
    default:
      response.end('hello')
  }
}

/** Changes, drops, doubles or adds a few bytes, once in `times`. */
function bent(bytes: Buffer, times: number): Buffer {
  if (below(times) !== 0 || bytes.length === 0) return bytes
  const at = below(bytes.length)
  const end = at + 1 + below(8)
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(end)]
  switch (below(5)) {
    case 0:
      return Buffer.concat([head, noise(8), tail])
    case 1:
      return Buffer.concat([head, tail])
    case 2:
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)])
    case 3:
      return Buffer.concat([
        head,
        Buffer.from(oneOf(['\r\n', '\n', '\r\n\r\n', ' ', ':', '\0', ','])),
        tail,
      ])
    default:
      return head
  }
}

const methods = [
  'GET',
  'GET',
  'GET',
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'OPTIONS',
  'CONNECT',
  'TRACE',
  'X-Y',
  'get',
]
let targets = 0
const target = (): string =>
  `/r${targets++}${below(2) === 0 ? '' : oneOf(['', '', '?a=b', '/../x', '%2e%2e/', '//', '?token=abc', ';x', '#y'])}`

const webSocketKey = 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n'
const more = [
  '',
  '',
  'Connection: close\r\n',
  'Connection: keep-alive, x-y\r\nX-Y: z\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: 0\r\n',
  'Content-Length: 100000\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
  'Expect: 100-continue\r\nContent-Length: 5\r\n',
  'Expect: 100-continue\r\n',
  `Connection: Upgrade\r\nUpgrade: websocket\r\n${webSocketKey}`,
  'Connection: Upgrade\r\nUpgrade: h2c\r\n',
  `Cookie: ${'a=b; '.repeat(50)}\r\n`,
  'TE: trailers\r\nTrailer: x\r\n',
]
const bodies = [
  '',
  '',
  'hello',
  '5\r\nhello\r\n0\r\n\r\n',
  '5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n',
  '5\r\nhel',
]

function requestsOfHttp1(): Buffer {
  const requests = Array.from({ length: 1 + below(4) }, () => {
    const auth = below(8) === 0 ? '' : `Authorization: Bearer ${apiToken}\r\n`
    const line = `${oneOf(methods)} ${target()} HTTP/1.${below(12) === 0 ? 0 : 1}\r\n`
    const head = `${line}Host: wiki.${domain}\r\n${auth}${below(2) === 0 ? '' : oneOf(more)}${below(4) === 0 ? oneOf(more) : ''}\r\n`
    return bent(Buffer.from(head + (below(2) === 0 ? '' : oneOf(bodies))), 5)
  })
  return Buffer.concat(requests)
}

/** Fields that are in no table (RFC 7541, 6.2.2). */
function packed(fields: readonly (readonly [string, string])[]): Buffer {
  const parts = fields.flatMap(([name, value]) => [
    ...[Buffer.from([0, name.length]), Buffer.from(name)],
    ...[Buffer.from([value.length]), Buffer.from(value)],
  ])
  return Buffer.concat(parts)
}

function framesOfHttp2(): Buffer {
  const frames = [Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0))]
  let stream = -1
  for (let count = 1 + below(10); count > 0; count--) {
    const some = Math.max(1, stream - 2 * below(3))
    switch (stream < 0 ? 9 : below(16)) {
      case 0:
        frames.push(frame(0, below(2), some, noise(100)))
        break
      case 1:
        frames.push(frame(3, 0, some, Buffer.from([0, 0, 0, below(14)])))
        break
      case 2:
        frames.push(frame(8, 0, oneOf([0, some]), Buffer.from([0, 0, below(256), below(256)])))
        break
      case 3:
        frames.push(frame(6, below(2), 0, Buffer.alloc(8)))
        break
      case 4:
        frames.push(frame(below(12), below(256), oneOf([0, some, 2]), noise(40)))
        break
      case 5:
        frames.push(frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 0, below(200)])))
        break
      default: {
        stream += 2
        const fields: [string, string][] = [
          [':method', oneOf(methods)],
          [':scheme', 'https'],
          [':path', target()],
          [':authority', `wiki.${domain}`],
        ]
        if (below(8) !== 0) fields.push(['authorization', `Bearer ${apiToken}`])
        if (below(4) === 0)
          fields.push(
            oneOf([
              ['content-length', '5'],
              ['te', 'trailers'],
              ['x', 'y'],
              ['X', 'y'],
              ['connection', 'close'],
              ['expect', '100-continue'],
            ] as const).slice() as [string, string],
          )
        // END_HEADERS most of the time, END_STREAM often.
        frames.push(frame(1, oneOf([4, 5, 5, 5, 5, 1, 0]), stream, packed(fields)))
      }
    }
  }
  return Buffer.concat(frames.map((each, index) => (index === 0 ? each : bent(each, 30))))
}

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms)
  })

/** Sends bytes in some pieces, and leaves in one way or the other. Resolves once the connection is over. */
async function talk(socket: TLSSocket, bytes: Buffer, below: Random): Promise<void> {
  const over = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  if (below(10) !== 0) socket.resume()
  let sent = 0
  while (sent < bytes.length && !socket.destroyed) {
    const length = [1, 7, 100, bytes.length][below(4)]!
    socket.write(bytes.subarray(sent, sent + length))
    sent += length
    if (below(4) === 0) await pause(below(8))
    // A byte at a time for long would be nothing new.
    if (length === 1 && below(3) === 0) {
      socket.write(bytes.subarray(sent))
      break
    }
  }
  await pause(below(60))
  if (below(4) === 0) socket.destroy()
  else if (below(2) === 0) socket.end()
  // Others wait for the proxy to send them away, and take what they left unread; nobody sends a WebSocket away.
  const ends = [setTimeout(() => socket.resume(), 300), setTimeout(() => socket.end(), 1_500)]
  await over
  for (const end of ends) clearTimeout(end)
}

test(`noise with the seed ${seed}`, async () => {
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      Array.from({ length: connectionsPerRound }, async (_, index) => {
        const isHttp2 = index % 2 === 1
        // All that is sent is made in order, whoever comes first then.
        const bytes = isHttp2 ? framesOfHttp2() : requestsOfHttp1()
        const own = random(below(2 ** 31))
        const cut = own(6) === 0 ? own(60) : undefined
        const socket = await site.connect(`wiki.${domain}`, [isHttp2 ? 'h2' : 'http/1.1'])
        if (cut !== undefined) setTimeout(() => site.gate.sessions.at(-1)?.cut(), cut)
        await talk(socket, bytes, own)
      }),
    )
  }
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  const textOf = ({ method, url }: { method: string; url: string }): string =>
    `${method} ${redactQuery(url, [])}`
  const recorded = new Map<string, number>()
  for (const { text, outcomes } of site.gate.records) {
    recorded.set(text, (recorded.get(text) ?? 0) + 1)
    expect(outcomes, text).toHaveLength(1)
  }
  const reached = new Map<string, number>()
  for (const one of site.reached) reached.set(textOf(one), (reached.get(textOf(one)) ?? 0) + 1)
  for (const [text, count] of reached)
    expect(recorded.get(text) ?? 0, text).toBeGreaterThanOrEqual(count)
  for (const { headers } of site.reached) {
    expect(headers['sallyport-assertion']).toBe('fake.assertion.signed')
    expect(headers.authorization).toBeUndefined()
  }
  expect(site.reached.length).toBeGreaterThan(rounds / 2)
})
