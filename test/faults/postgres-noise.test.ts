/** Hostile bytes: nothing crashes, nothing leaks, and everything ends. `SALLYPORT_LONG=1` makes it last. */
import { randomBytes, randomInt } from 'node:crypto'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { postgres } from '../../protocols/postgres/index.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { startEngineServer, type EngineServer } from '../fakes/engine-server.ts'
import { createFakeGate, type FakeGate } from '../fakes/gate.ts'
import { startFakePostgres, type FakePostgres } from '../fakes/postgres-upstream.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { copyCertificates, type TestCertificates } from '../fakes/tls.ts'
import { client, server as backend, wireUp } from '../unit/postgres/messages.ts'

const isLong = process.env['SALLYPORT_LONG'] === '1'
const fuzzMs = isLong ? 120_000 : 9_000
const domain = 'access.localhost'
const limits = { handshakeMs: 400, upstreamConnectMs: 1_000 }

let certificates: TestCertificates
let upstream: FakePostgres
let gate: FakeGate
let server: EngineServer

beforeAll(async () => {
  certificates = await copyCertificates(domain)
  upstream = await startFakePostgres()
  gate = createFakeGate({
    upstream: { host: '127.0.0.1', port: upstream.port, serverName: 'x', tls: 'disable' },
    account: 'a',
    secret: 's',
  })
  server = await startEngineServer({ engine: postgres, gate, certificates, domain, limits })
})
afterAll(async () => {
  await eventually(() => server.serving === 0)
  expect(server.crashes).toEqual([])
  await server.close()
  await upstream.close()
  certificates.remove()
})

interface Told<S extends Socket> {
  socket: S
  readonly text: string
  readonly bytes: Buffer
  readonly closed: boolean
}

function listen<S extends Socket>(socket: S): Told<S> {
  const chunks: Buffer[] = []
  let closed = false
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => {})
  socket.on('close', () => {
    closed = true
  })
  return {
    socket,
    get bytes() {
      return Buffer.concat(chunks)
    },
    get text() {
      return Buffer.concat(chunks).toString('latin1')
    },
    get closed() {
      return closed
    },
  }
}

const plain = (): Told<Socket> => listen(connectTcp(server.port, '127.0.0.1'))
const encrypted = (): Told<TLSSocket> =>
  listen(
    connectTls({
      host: '127.0.0.1',
      port: server.port,
      servername: `orders-db.${domain}`,
      ca: certificates.caPem,
      cert: certificates.read('client', 'crt'),
      key: certificates.read('client', 'key'),
      ALPNProtocols: ['postgresql'],
    }),
  )
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
const startup = Buffer.from([...[0, 0, 0, 17, 0, 3, 0, 0], ...Buffer.from('user\0me\0\0')])

async function loggedIn(): Promise<Told<TLSSocket>> {
  const told = encrypted()
  told.socket.write(startup)
  await eventually(() => told.bytes.includes('Z\0\0\0\x05I'))
  return told
}

describe('before the login', () => {
  test.each<[string, Buffer, RegExp]>([
    ['two gigabytes', Buffer.from([0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]), /invalid length/],
    ['a negative length', Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0]), /invalid length/],
    ['no length at all', Buffer.alloc(8), /invalid length/],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), /invalid length/],
    ['protocol 2.0', Buffer.from([0, 0, 0, 8, 0, 2, 0, 0]), /0A000/],
    ['bytes after SSLRequest', Buffer.concat([sslRequest, startup]), /unencrypted data after SSL/],
    [
      'SSLRequest with a body',
      Buffer.from([...[0, 0, 0, 9], ...sslRequest.subarray(4), 1]),
      /layout/,
    ],
  ])('%s', async (_name, bytes, expected) => {
    const told = plain()
    told.socket.write(bytes)
    await eventually(() => told.closed)
    expect(told.text).toMatch(expected)
    expect(told.text).toContain('FATAL')
  })

  test.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['half a start-up packet', startup.subarray(0, 9)],
    ['half a ClientHello', Buffer.from([0x16, 3, 1, 2, 0, 1])],
  ])('who sends %s and waits is sent away', async (_name, bytes) => {
    const told = plain()
    told.socket.write(bytes)
    await eventually(() => told.closed)
  })

  test('a byte at a time is as good as all at once, but not for ever', async () => {
    const told = plain()
    for (const byte of sslRequest) {
      told.socket.write(Buffer.from([byte]))
      await new Promise((resolve) => {
        setTimeout(resolve, 5)
      })
    }
    await eventually(() => told.text === 'S')
    await eventually(() => told.closed)
  })

  test('endless requests for GSS encryption', async () => {
    const told = plain()
    const request = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30])
    for (let round = 1; round <= 2; round++) {
      told.socket.write(request)
      await eventually(() => told.text === 'N'.repeat(round))
    }
    told.socket.write(request)
    told.socket.write(request)
    await eventually(() => told.closed)
  })

  test('SSLRequest inside TLS', async () => {
    const told = encrypted()
    told.socket.write(sslRequest)
    await eventually(() => told.closed)
    expect(told.text).toContain('08P01')
  })

  test('noise', async () => {
    const untilMs = Date.now() + fuzzMs / 3
    while (Date.now() < untilMs) {
      const wires = Array.from({ length: 10 }, (_, index) =>
        index % 2 === 0 ? plain() : encrypted(),
      )
      for (const told of wires) {
        told.socket.write(randomBytes(randomInt(1, 64)))
        if (randomInt(2) === 0) told.socket.end()
      }
      await eventually(() => wires.every((told) => told.closed))
    }
    expect(server.crashes).toEqual([])
  })
})

describe('after the login', () => {
  test.each<[string, Buffer]>([
    ['a length of three', Buffer.from([0x51, 0, 0, 0, 3])],
    ['two gigabytes', Buffer.from([0x51, 0x7f, 0xff, 0xff, 0xff])],
    ['a negative length', Buffer.from([0x50, 0xff, 0xff, 0xff, 0xf0])],
    ['an unknown type', Buffer.from([0x7a, 0, 0, 0, 4])],
    ['a password', Buffer.from([0x70, 0, 0, 0, 5, 0])],
    ['a Sync of ten thousand bytes', Buffer.from([0x53, 0, 0, 0x40, 0])],
  ])('%s ends the session with 08P01', async (_name, bytes) => {
    const told = await loggedIn()
    const session = gate.sessions.at(-1)!
    told.socket.write(bytes)
    await eventually(() => told.closed)
    expect(told.text).toContain('C08P01')
    await session.closed
    expect(session.ended).toMatchObject({
      reason: 'client-failed',
      error: expect.objectContaining({ code: 'protocol-violation' }) as SallyportError,
    })
    expect(session.records).toEqual([])
  })

  test('a Query cut off in the middle is not recorded, and nothing of it stays', async () => {
    const told = await loggedIn()
    const session = gate.sessions.at(-1)!
    told.socket.end(client.query('x'.repeat(200_000)).subarray(0, 150_000))
    await session.closed
    expect(session.records).toEqual([])
    expect(session.blobs.size).toBe(0)
  })

  test('noise in place of messages', async () => {
    const untilMs = Date.now() + fuzzMs / 3
    while (Date.now() < untilMs) {
      const told = await loggedIn()
      told.socket.write(Buffer.concat([client.query('select 1'), randomBytes(randomInt(5, 200))]))
      told.socket.end()
      await eventually(() => told.closed)
    }
    await eventually(() => server.serving === 0)
    for (const record of gate.records) expect(record.outcomes).toHaveLength(1)
  })
})

test('the codec: bent conversations either go on or end with a violation, and settle', () => {
  const seeds = [
    ...[
      client.query('select 1'),
      client.parse('s', 'select $1', [23]),
      client.bind('p', 's', ['1']),
    ],
    ...[client.execute('p'), client.describe('S', 's'), client.close('P', 'p'), client.sync()],
    ...[client.copyData('abc'), client.copyDone(), client.copyFail('x'), client.flush()],
    ...[client.functionCall(1, [{ bytes: Buffer.from('x') }]), client.terminate()],
    ...[client.query('y'.repeat(70_000)), client.parse('', 'z'.repeat(70_000))],
  ]
  const answers = [
    ...[backend.parsed(), backend.bound(), backend.closed(), backend.ready(), backend.ready('T')],
    ...[
      backend.complete('SELECT 1'),
      backend.row('x'),
      backend.types(23),
      backend.rowDescription(),
    ],
    ...[backend.noData(), backend.suspended(), backend.empty(), backend.error('42601', 'e')],
    ...[backend.copyIn(), backend.copyOut(), backend.copyData('x'), backend.copyDone()],
    ...[
      backend.functionResult('x'),
      backend.notice('n'),
      backend.parameter('client_encoding', 'X'),
    ],
  ]
  const bend = (bytes: Buffer): Buffer => {
    if (randomInt(4) !== 0) return bytes
    const bent = Buffer.from(bytes)
    bent[randomInt(bent.length)] = randomInt(256)
    return bent
  }
  const untilMs = Date.now() + fuzzMs
  let rounds = 0
  let violations = 0
  while (Date.now() < untilMs) {
    rounds++
    const wire = wireUp()
    try {
      for (let step = 0; step < 40; step++) {
        if (randomInt(2) === 0) wire.toServer(bend(seeds[randomInt(seeds.length)]!))
        else wire.toClient(bend(answers[randomInt(answers.length)]!))
      }
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error
      violations++
    }
    wire.observer.finish()
    if (!wire.settledOnce()) throw new Error('a record without its one outcome')
  }
  expect(rounds).toBeGreaterThan(20)
  expect(violations).toBeGreaterThan(0)
})
