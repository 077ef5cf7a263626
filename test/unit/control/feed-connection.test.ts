import { EventEmitter } from 'node:events'
import { generateKeyPairSync } from 'node:crypto'
import { expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import { createKeySigner } from '../../../certs/key-signer.ts'
import type { Control } from '../../../control/control.ts'
import { createLog } from '../../../control/create-log.ts'
import { serveFeedConnection } from '../../../control/feed/feed-connection.ts'
import type { FeedFollower, FeedHub } from '../../../control/feed/feed-hub.ts'
import { createTestClock } from '../../test-clock.ts'

/** A socket that keeps what it is given. */
class FakeSocket extends EventEmitter {
  bufferedAmount = 0
  isPaused = false
  terminated = false
  closedWith: number | undefined
  readonly sent: { kind: string }[] = []
  send(text: string, done?: (error?: Error) => void): void {
    this.sent.push(JSON.parse(text) as { kind: string })
    done?.()
  }
  ping(): void {}
  pause(): void {
    this.isPaused = true
  }
  resume(): void {
    this.isPaused = false
  }
  close(code: number): void {
    this.closedWith = code
    this.emit('close', code)
  }
  terminate(): void {
    this.terminated = true
    this.emit('close', 1006)
  }
}

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

function connect(query: (text: string) => unknown[]) {
  const clock = createTestClock()
  const socket = new FakeSocket()
  const followers = new Set<FeedFollower>()
  const hub = {
    position: 10,
    completeAtMs: 0,
    follow(follower: FeedFollower) {
      followers.add(follower)
      return () => followers.delete(follower)
    },
    ring: () => {},
    close: async () => {},
  } satisfies FeedHub
  const signer = createKeySigner(generateKeyPairSync('ed25519').privateKey)
  const control = {
    realm: 'default',
    clock,
    log: createLog('silent'),
    keys: { signers: { leases: signer } },
    state: { query: async (text: string) => query(text) },
  } as unknown as Control
  let closed = 0
  const connection = serveFeedConnection({
    socket: socket as unknown as WebSocket,
    peer: {
      proxyId: '00000000-0000-4000-8000-000000000001',
      group: 'default',
      domain: 'x.test',
      expiresAtMs: clock.wallMs() + 60_000,
    },
    hub,
    control,
    onClosed: () => (closed += 1),
  })
  const receive = (message: unknown): void => {
    socket.emit('message', Buffer.from(JSON.stringify(message)), false)
  }
  return { clock, socket, followers, connection, receive, closed: () => closed }
}

const hello = { kind: 'hello', cursor: 10, version: '1', bootEpoch: 'x' }
const atHead = (text: string): unknown[] =>
  text.includes('feed_heads') ? [{ position: 10, floor: 5 }] : []
const row = { position: 11, group: null, event: { kind: 'grant', token: 'x' } as const }

test('a proxy that does not read is disconnected, and holds no more than its share', async () => {
  const { socket, followers, receive, closed } = connect(atHead)
  receive(hello)
  await settle()
  const [follower] = followers
  follower!.rows([row], 11)
  expect(socket.sent.at(-1)).toMatchObject({ kind: 'events', position: 11 })
  socket.bufferedAmount = 64 * 1024 * 1024
  const count = socket.sent.length
  follower!.rows([{ ...row, position: 12 }], 12)
  expect(socket.terminated).toBe(true)
  expect(socket.sent).toHaveLength(count)
  expect(closed()).toBe(1)
  expect(followers.size).toBe(0)
})

test('rows that were read while catching up are not sent twice', async () => {
  const { socket, followers, receive, connection } = connect(atHead)
  receive(hello)
  await settle()
  const [follower] = followers
  follower!.rows([{ ...row, position: 10 }], 10)
  follower!.rows([{ ...row, position: 10 }, row], 11)
  const events = socket.sent.filter((message) => message.kind === 'events')
  expect(events).toEqual([{ kind: 'events', position: 11, events: [row.event] }])
  expect(connection.sent).toBe(11)
})

test('a proxy that says nothing, or falls silent, is let go', async () => {
  const mute = connect(atHead)
  mute.clock.advance(10_001)
  expect(mute.socket.closedWith).toBe(1008)

  const silent = connect(atHead)
  silent.receive(hello)
  await settle()
  silent.clock.advance(15_000)
  expect(silent.socket.terminated).toBe(false)
  silent.clock.advance(15_000)
  expect(silent.socket.terminated).toBe(true)
})

test('a feed ends with its certificate', async () => {
  const { clock, socket, receive } = connect(atHead)
  receive(hello)
  await settle()
  for (let second = 0; second < 62 && socket.closedWith === undefined; second += 1) {
    clock.advance(1_000)
    socket.emit('pong')
  }
  expect(socket.closedWith).toBe(1008)
})

test('too many confirmations at a time stop the reading until some are answered', async () => {
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => (release = resolve))
  const { socket, receive } = connect(atHead)
  receive(hello)
  await settle()
  const other = connect((text) => {
    if (text.includes('left join people')) {
      return gate.then(() => [{ position: 10, personState: null }]) as unknown as unknown[]
    }
    return atHead(text)
  })
  other.receive(hello)
  await settle()
  for (let requestId = 0; requestId < 300; requestId += 1) {
    other.receive({
      kind: 'confirm',
      requestId,
      sessionId: '00000000-0000-4000-8000-000000000002',
      resource: 'x',
      wanted: '',
      protocol: 'postgres',
    })
  }
  expect(other.socket.isPaused).toBe(true)
  release()
  await settle()
  expect(other.socket.isPaused).toBe(false)
  expect(other.socket.sent.filter((message) => message.kind === 'denied')).toHaveLength(300)
  expect(socket.isPaused).toBe(false)
})

test('a failure in the middle of a confirmation is a denial, not silence', async () => {
  const { socket, receive } = connect((text) => {
    if (text.includes('left join people')) throw new Error('broken')
    return atHead(text)
  })
  receive(hello)
  await settle()
  receive({
    kind: 'confirm',
    requestId: 1,
    sessionId: '00000000-0000-4000-8000-000000000002',
    resource: 'x',
    wanted: '',
    protocol: 'postgres',
  })
  await settle()
  expect(socket.sent.at(-1)).toMatchObject({ kind: 'denied', why: 'error', requestId: 1 })
})
