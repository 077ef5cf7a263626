/** Frames of HTTP/2 that break RFC 9113, on a raw socket: each ends its stream or its connection, and nothing of them reaches the app. */
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { frame, frameTypes, preface } from '../fakes/http2-frames.ts'

let site: HttpSite
beforeAll(async () => {
  site = await startHttpSite({ gate: { level: 'write' } })
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  await site.close()
})
afterEach(async () => {
  // Whatever came, the next client is served.
  expect((await site.ask({ path: '/next' })).status).toBe(200)
  site.reached.length = 0
})

const endStream = 1
const endHeaders = 4

/** Literals without indexing (RFC 7541, 6.2.2). */
function block(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer =>
    Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  )
}

const proper = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':path', '/hostile'],
  [':authority', `wiki.${domain}`],
  ['authorization', `Bearer ${apiToken}`],
] as const
const request = (more: readonly (readonly [string, string])[] = [], stream = 1): Buffer =>
  frame('headers', endStream | endHeaders, stream, block([...proper, ...more]))
const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

interface Told {
  /** Of GOAWAY and RST_STREAM. */
  readonly code: number
  readonly type: 'goaway' | 'reset'
}

/** What comes back until the connection is refused or a stream is; undefined: it was closed without a word. */
async function tell(bytes: Buffer, begin = preface): Promise<Told | undefined> {
  const socket = await site.connect(undefined, ['h2'])
  expect(socket.alpnProtocol).toBe('h2')
  socket.on('error', () => {})
  const told = firstRefusal(socket)
  socket.write(Buffer.concat([begin, bytes]))
  const refusal = await told
  if (refusal?.type === 'goaway' && !socket.destroyed) {
    await new Promise((resolve) => socket.once('close', resolve))
  }
  socket.destroy()
  return refusal
}

function firstRefusal(socket: TLSSocket): Promise<Told | undefined> {
  let rest = Buffer.alloc(0)
  return new Promise((resolve) => {
    socket.once('close', () => resolve(undefined))
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
        const end = 9 + rest.readUIntBE(0, 3)
        const payload = rest.subarray(9, end)
        if (rest[3] === frameTypes.goaway)
          resolve({ type: 'goaway', code: payload.readUInt32BE(4) })
        if (rest[3] === frameTypes.reset) resolve({ type: 'reset', code: payload.readUInt32BE(0) })
        rest = rest.subarray(end)
      }
    })
  })
}

/** Codes of RFC 9113, chapter 7. */
const [protocolError, flowControl, streamClosed, frameSize, compression, calm] = [1, 3, 5, 6, 9, 11]

const ofConnections: Readonly<Record<string, readonly [Buffer, ...number[]]>> = {
  'settings of no proper length': [frame('settings', 0, 0, Buffer.alloc(5)), frameSize],
  'settings of a stream': [frame('settings', 0, 1, Buffer.alloc(0)), protocolError],
  'settings with a window that is too large': [
    frame('settings', 0, 0, Buffer.concat([Buffer.from([0, 4]), number(0xffffffff)])),
    flowControl,
  ],
  'settings that allow nothing that is allowed': [
    frame('settings', 0, 0, Buffer.concat([Buffer.from([0, 2]), number(2)])),
    protocolError,
  ],
  'an acknowledgement with settings': [frame('settings', 1, 0, Buffer.alloc(6)), frameSize],
  'data of no stream': [frame('data', 0, 0, Buffer.alloc(1)), protocolError],
  'data of a stream that is idle': [
    frame('data', 0, 1, Buffer.alloc(1)),
    protocolError,
    streamClosed,
  ],
  'headers of no stream': [frame('headers', 5, 0, block(proper)), protocolError],
  'a stream of the server’s': [request([], 2), protocolError],
  'a frame that is too large': [frame('data', 0, 1, Buffer.alloc(16_385)), frameSize],
  'a continuation of nothing': [frame('continuation', 4, 1, block(proper)), protocolError],
  'headers that something else interrupts': [
    Buffer.concat([frame('headers', 1, 1, block(proper)), frame('ping', 0, 0, Buffer.alloc(8))]),
    protocolError,
  ],
  'a field of an index that is none': [frame('headers', 5, 1, Buffer.from([0x80])), compression],
  'a field of an index that is not there': [
    frame('headers', 5, 1, Buffer.from([0xff, 0xff, 0x7f])),
    compression,
  ],
  'padding longer than its frame': [frame('data', 8, 1, Buffer.from([200, 1])), protocolError],
  'a window that grows by nothing': [frame('windowUpdate', 0, 0, number(0)), protocolError],
  'a window that grows past its end': [
    frame('windowUpdate', 0, 0, number(0x7fffffff)),
    flowControl,
  ],
  'a ping of seven bytes': [frame('ping', 0, 0, Buffer.alloc(7)), frameSize],
  'a ping of a stream': [frame('ping', 0, 1, Buffer.alloc(8)), protocolError],
  'a push of the client’s': [
    frame('push', 4, 1, Buffer.concat([number(2), block(proper)])),
    protocolError,
  ],
  'a reset of what was never begun': [frame('reset', 0, 1, number(8)), protocolError],
  'a reset of three bytes': [
    Buffer.concat([request(), frame('reset', 0, 1, Buffer.alloc(3))]),
    frameSize,
  ],
}
test.each(Object.keys(ofConnections))('%s ends the connection', async (name) => {
  const [bytes, ...codes] = ofConnections[name]!
  const told = await tell(bytes)
  // Closed without a word is as good (RFC 9113, 5.4.1).
  if (told !== undefined) {
    expect(told.type).toBe('goaway')
    expect(codes).toContain(told.code)
  }
})

test('what does not begin as HTTP/2 is closed', async () => {
  await tell(Buffer.alloc(0), Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
  await tell(Buffer.alloc(0), Buffer.alloc(24, 0xff))
  expect(site.reached).toEqual([])
})

const ofStreams: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  'a name in capitals': [...proper, ['X-Name', '1']],
  'no path': proper.filter(([name]) => name !== ':path'),
  'no method': proper.filter(([name]) => name !== ':method'),
  'no scheme': proper.filter(([name]) => name !== ':scheme'),
  'an empty path': proper.map(([name, value]) => [name, name === ':path' ? '' : value]),
  'two paths': [...proper.slice(0, 4), [':path', '/other'], ...proper.slice(4)],
  'a path after the fields': [
    ...proper.filter(([name]) => name !== ':path'),
    [':path', '/hostile'],
  ],
  'a pseudo-field that is unknown': [[':proto', 'x'], ...proper],
  'a status in a request': [[':status', '200'], ...proper],
  'a field of connections': [...proper, ['connection', 'close']],
  'a transfer coding': [...proper, ['transfer-encoding', 'chunked']],
  'te but trailers': [...proper, ['te', 'gzip']],
  'a length for what has no body': [...proper, ['content-length', '5']],
  'two lengths': [...proper, ['content-length', '0'], ['content-length', '1']],
  'a host that differs': [...proper, ['host', `other.${domain}`]],
}
test.each(Object.keys(ofStreams))(
  'a request with %s is refused, and not the app’s',
  async (name) => {
    const socket = await site.connect(undefined, ['h2'])
    socket.on('error', () => {})
    const refused = firstRefusal(socket)
    let isAnswered = false
    const answered = new Promise<void>((resolve) => {
      let all = Buffer.alloc(0)
      socket.on('data', (chunk: Buffer) => {
        all = Buffer.concat([all, chunk])
        if (!all.includes('application/problem+json') && !all.includes('"status":400')) return
        isAnswered = true
        resolve()
      })
    })
    socket.write(
      Buffer.concat([
        preface,
        frame('headers', endStream | endHeaders, 1, block(ofStreams[name]!)),
      ]),
    )
    const told = await Promise.race([refused, answered])
    if (!isAnswered) expect([protocolError, undefined]).toContain(told?.code)
    socket.destroy()
    expect(site.reached).toEqual([])
  },
)

test('what cannot be the value of a field never arrives, nor does a stream whose number was passed', async () => {
  const socket = await site.connect(undefined, ['h2'])
  socket.on('error', () => {})
  const late = [
    ['x-a', 'b\r\nx-c: d'],
    ['x-b', 'b\0'],
  ] as const
  const bytes = [preface, request(late, 5), request([], 3), request([['x-last', '1']], 7)]
  socket.write(Buffer.concat(bytes))
  await eventually(() => site.reached.some(({ headers }) => headers['x-last'] === '1'))
  socket.destroy()
  expect(site.reached).toHaveLength(2)
  for (const { headers } of site.reached) {
    expect(Object.keys(headers).filter((name) => /^x-[abc]$/.test(name))).toEqual([])
  }
})

test('a body shorter than it said never arrives whole', async () => {
  const fields = proper.map(([name, value]) => [name, name === ':method' ? 'POST' : value] as const)
  const told = await tell(
    Buffer.concat([
      frame('headers', endHeaders, 1, block([...fields, ['content-length', '5']])),
      frame('data', endStream, 1, Buffer.from('abc')),
    ]),
  )
  expect(told).toEqual({ type: 'reset', code: protocolError })
  expect(site.reached.filter(({ complete }) => complete)).toEqual([])
})

test('headers without an end are not kept', async () => {
  const part = block([['x-name', 'v'.repeat(100)]])
  const parts = Array.from({ length: 200 }, () => Buffer.concat(Array(100).fill(part)))
  const told = await tell(
    Buffer.concat([
      frame('headers', endStream, 1, block(proper)),
      ...parts.map((each) => frame('continuation', 0, 1, each)),
    ]),
  )
  if (told !== undefined) expect([protocolError, calm, 2, compression]).toContain(told.code)
  expect(site.reached).toEqual([])
})

test('rapid resets (CVE-2023-44487) end their connection, and few of them reach the app', async () => {
  const streams = Array.from({ length: 5_000 }, (_, index) => {
    const stream = 2 * index + 1
    return Buffer.concat([request([], stream), frame('reset', 0, stream, number(8))])
  })
  const told = await tell(Buffer.concat(streams))
  if (told !== undefined) expect(told.type).toBe('goaway')
  await eventually(() => site.gate.records.every(({ outcomes }) => outcomes.length === 1))
  expect(site.reached.length).toBeLessThan(2_000)
})
