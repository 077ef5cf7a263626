import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { SessionClosedMeta } from '../../../control/api/audit/format.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Cut } from '../../../protocols/session.ts'
import {
  createProxyWorld,
  FakeSocket,
  grantId,
  ordersDb,
  person,
  turns,
  type ProxyWorld,
  type WorldOptions,
} from '../../fakes/proxy-world.ts'

let directory: string
let world: ProxyWorld
const make = async (options: Partial<WorldOptions> = {}): Promise<ProxyWorld> =>
  (world = await createProxyWorld({ stateDirectory: directory, ...options }))

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'session-'))
  await make()
})
afterEach(() => {
  world.stopWatching()
  rmSync(directory, { recursive: true, force: true })
})

const reasonOf = (signal: AbortSignal): string | undefined =>
  (signal.reason as Cut | undefined)?.reason

const closedMeta = (): SessionClosedMeta | undefined =>
  world.spool.events.findLast((event) => event.type === 'session-closed')?.meta as
    | SessionClosedMeta
    | undefined

describe('the end of a grant', () => {
  it('cuts at the very moment, with nothing but the clock', async () => {
    const { session } = await world.openSession()
    world.clock.advance(3_599_999)
    await turns()
    expect(session.signal.aborted).toBe(false)
    world.clock.advance(1)
    await turns()
    expect(session.signal.reason).toMatchObject({
      reason: 'grant-expired',
      orderedAtMs: session.labels.expiresAtMs,
      message: 'your access to "orders-db" has ended',
    })
  })

  it('is measured on the monotonic clock: setting the wall clock back gives no time', async () => {
    const { session } = await world.openSession()
    world.clock.skewWall(-3_000_000)
    world.clock.advance(3_600_000)
    await turns()
    expect(reasonOf(session.signal)).toBe('grant-expired')
  })

  it('comes nearer when the wall clock jumps ahead (the machine slept)', async () => {
    const { session } = await world.openSession()
    world.clock.skewWall(3_599_000)
    world.clock.advance(500)
    await turns()
    expect(session.signal.aborted).toBe(false)
    world.clock.advance(600)
    await turns()
    expect(reasonOf(session.signal)).toBe('grant-expired')
  })

  it('goes by the stricter of the two clocks', async () => {
    world.controlClock.sample(world.clock.wallMs() + 1_500)
    const { session } = await world.openSession()
    world.clock.advance(3_598_500)
    await turns()
    expect(reasonOf(session.signal)).toBe('grant-expired')
  })

  it('moves with an extension, also nearer, and never by an older revision', async () => {
    const { session } = await world.openSession()
    const startMs = world.clock.wallMs()
    const extend = async (revision: number, forMs: number) =>
      world.feed({
        kind: 'grant',
        token: await world.grantToken({ revision, expiresAtMs: startMs + forMs }),
      })
    await extend(3, 7_200_000)
    await extend(2, 3_000)
    world.clock.advance(3_700_000)
    await turns()
    expect(session.signal.aborted).toBe(false)
    await extend(4, 3_800_000)
    world.clock.advance(100_000)
    await turns()
    expect(reasonOf(session.signal)).toBe('grant-expired')
  })

  it('ends at once when an extension moved it into the past', async () => {
    const { session } = await world.openSession()
    world.clock.advance(10_000)
    const token = await world.grantToken({ revision: 2, expiresAtMs: world.clock.wallMs() - 1 })
    await world.feed({ kind: 'grant', token })
    await turns()
    expect(reasonOf(session.signal)).toBe('grant-expired')
  })

  it('is announced, at each moment once, and again after an extension', async () => {
    const { lines } = await world.openSession()
    world.clock.advance(3_300_000)
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(/"orders-db" ends in 5m; .*sally extend 44444444/)
    world.clock.advance(200_000)
    const token = await world.grantToken({
      revision: 2,
      expiresAtMs: world.clock.wallMs() + 600_000,
    })
    await world.feed({ kind: 'grant', token })
    world.clock.advance(299_999)
    expect(lines).toHaveLength(1)
    world.clock.advance(1)
    expect(lines).toHaveLength(2)
    world.clock.advance(240_000)
    expect(lines[2]).toMatch(/ends in 1m/)
  })
})

describe('the feed cuts', () => {
  const now = (): number => world.clock.wallMs()
  it.each([
    [
      'grant-revoked',
      () => ({
        kind: 'grant-revoked' as const,
        grantId,
        revision: 2,
        orderedAtMs: now(),
        reason: 'enough',
      }),
    ],
    [
      'person-revoked',
      () => ({ kind: 'person-revoked' as const, personId: person, orderedAtMs: now() }),
    ],
    [
      'certificate-revoked',
      () => ({
        kind: 'certificate-revoked' as const,
        serial: 'abc1',
        orderedAtMs: now(),
        expiresAtMs: now() + 1,
      }),
    ],
    [
      'resource-removed',
      () => ({ kind: 'resource-removed' as const, name: 'orders-db', orderedAtMs: now() }),
    ],
    [
      'resource-removed',
      () => ({
        kind: 'resource' as const,
        resource: { ...ordersDb, address: { host: '127.0.0.1', port: 5433 } },
      }),
    ],
  ])('%s', async (reason, event) => {
    const { session } = await world.openSession()
    await world.feed(event())
    await turns()
    expect(reasonOf(session.signal)).toBe(reason)
    expect(world.spool.events.some((each) => each.type === 'session-cut')).toBe(true)
  })

  it('one session that an admin names', async () => {
    const first = await world.openSession()
    const second = await world.openSession()
    await world.feed({
      kind: 'session-cut',
      sessionId: first.session.labels.sessionId,
      orderedAtMs: now(),
      reason: 'test',
    })
    await turns()
    expect(reasonOf(first.session.signal)).toBe('cut-by-admin')
    expect(second.session.signal.aborted).toBe(false)
  })

  it('leaves a session alone whose resource changed in what does not matter to it', async () => {
    const { session } = await world.openSession()
    await world.feed({
      kind: 'resource',
      resource: { ...ordersDb, description: 'new', idleMs: 5_000 },
    })
    await turns()
    expect(session.signal.aborted).toBe(false)
    world.clock.advance(5_000)
    await turns()
    expect(reasonOf(session.signal)).toBe('idle')
  })

  it('what a resync does not name has ended; what it names goes on', async () => {
    const gone = await world.openSession()
    const kept = '44444444-4444-4444-8444-44444444aaaa'
    const other = await world.openSession({ grantId: kept })
    await world.view.replace(world.view.position + 10, [
      {
        kind: 'keys',
        keys: [{ kid: world.signing.kid, publicKeyPem: world.signing.publicKeyPem }],
      },
      { kind: 'resource', resource: ordersDb },
      {
        kind: 'grant',
        token: await world.grantToken({
          grantId: kept,
          revision: 2,
          expiresAtMs: now() + 10_000,
        }),
      },
    ])
    await turns()
    expect(reasonOf(gone.session.signal)).toBe('grant-revoked')
    expect(other.session.signal.aborted).toBe(false)
    world.clock.advance(10_000)
    await turns()
    expect(reasonOf(other.session.signal)).toBe('grant-expired')
  })
})

describe('a cut', () => {
  it('stops forwarding at once, says why, and proves it', async () => {
    const { session, downstream, upstream } = await world.openSession()
    const socket = upstream as unknown as FakeSocket
    session.forward(upstream, Buffer.from('before'))
    world.clock.advance(1_000)
    const orderedAtMs = world.clock.wallMs()
    world.registry.cut([session], { reason: 'cut-by-admin', orderedAtMs, detail: 'x' })
    // Nothing passes from this very call on, before anybody was told.
    expect(session.signal.aborted).toBe(false)
    expect(session.forward(upstream, Buffer.from('after'))).toBe(false)
    let ran = false
    session.forwardCall(() => (ran = true))
    await turns()
    expect(session.signal.aborted).toBe(true)
    world.clock.advance(5)
    downstream.write('FATAL')
    session.countDownstream(5)
    world.clock.advance(2)
    await session[Symbol.asyncDispose]()
    expect(Buffer.concat(socket.written).toString()).toBe('before')
    expect(ran).toBe(false)
    expect(downstream.destroyed && socket.destroyed).toBe(true)
    expect(closedMeta()).toMatchObject({
      reason: 'cut-by-admin',
      cut: { orderedAtMs, lastByteAtMs: orderedAtMs + 5, closedAtMs: orderedAtMs + 7 },
      bytesUp: 6,
      bytesDown: 5,
    })
    expect(world.registry.size).toBe(0)
  })

  it('destroys a client that does not take its farewell', async () => {
    const { session, downstream } = await world.openSession()
    downstream.isStuck = true
    downstream.write('rows')
    const orderedAtMs = world.clock.wallMs()
    world.registry.cut([session], { reason: 'cut-by-admin', orderedAtMs, detail: '' })
    await turns()
    expect(downstream.destroyed).toBe(false)
    world.clock.advance(100)
    await turns()
    expect(downstream.destroyed).toBe(true)
    // What waited may have passed until the end: the proof never claims an earlier moment.
    expect(closedMeta()?.cut?.lastByteAtMs).toBe(orderedAtMs + 100)
  })

  it('lets a cancel reach the resource, also after the farewell, and for no longer than its grace', async () => {
    const { session, downstream, upstream } = await world.openSession()
    const orderedAtMs = world.clock.wallMs()
    world.registry.cut([session], { reason: 'cut-by-admin', orderedAtMs, detail: '' })
    await turns()
    const cancel = await session.connect()
    expect(cancel).not.toBe(upstream)
    world.clock.advance(100)
    await turns()
    // The session's own sockets are gone, and its end is written.
    expect([downstream.destroyed, upstream.destroyed, cancel.destroyed]).toEqual([
      true,
      true,
      false,
    ])
    expect(closedMeta()?.cut?.closedAtMs).toBe(orderedAtMs + 100)
    const another = await session.connect()
    expect(world.dialled).toHaveLength(3)
    world.clock.advance(10_000)
    await turns()
    expect(cancel.destroyed && another.destroyed).toBe(true)
    await expect(session.connect()).rejects.toMatchObject({ code: 'access-denied' })
    expect(world.registry.size).toBe(0)
    expect(world.fetched).toEqual([])
  })

  it('keeps the first reason, and refuses to borrow or to open after it', async () => {
    const token = await world.confirmGrant()
    await world.feed({ kind: 'grant', token })
    const session = await world.admit()
    const order = { reason: 'grant-revoked', orderedAtMs: 1, detail: '' } as const
    expect(world.registry.cut([session], order)).toBe(1)
    expect(world.registry.cut([session], { ...order, reason: 'idle' })).toBe(0)
    await expect(session.borrow()).rejects.toMatchObject({ code: 'access-denied' })
    expect(() => session.opened(() => undefined)).toThrow(SallyportError)
    await turns()
    expect(reasonOf(session.signal)).toBe('grant-revoked')
    expect(world.fetched).toEqual([])
  })

  it('of a thousand sessions is one commit', async () => {
    const sessions = []
    for (let index = 0; index < 1_000; index++) sessions.push((await world.openSession()).session)
    const before = world.spool.commits
    await world.feed({ kind: 'person-revoked', personId: person, orderedAtMs: 1 })
    expect(world.spool.commits - before).toBe(2) // written, then synced
    await turns()
    expect(sessions.every((session) => session.signal.aborted)).toBe(true)
    world.clock.advance(100)
    await turns()
    await Promise.all(sessions.map((session) => session[Symbol.asyncDispose]()))
    expect(world.registry.size).toBe(0)
    expect(world.spool.events.filter((event) => event.type === 'session-closed')).toHaveLength(
      1_000,
    )
  })

  it('comes to all when the spool fails', async () => {
    const { session } = await world.openSession()
    world.spool.fail(new SallyportError('audit-unwritable', 'no disk'))
    await turns()
    expect(reasonOf(session.signal)).toBe('audit-unwritable')
    await session[Symbol.asyncDispose]()
    expect(world.registry.size).toBe(0)
  })
})

describe('a session', () => {
  it('is cut when it is idle, and traffic either way keeps it', async () => {
    await make({ limits: { idleMs: 10_000 } })
    const { session, upstream } = await world.openSession()
    world.clock.advance(9_000)
    session.forward(upstream, Buffer.from('x'))
    world.clock.advance(9_000)
    session.countDownstream(1)
    world.clock.advance(9_999)
    await turns()
    expect(session.signal.aborted).toBe(false)
    world.clock.advance(1)
    await turns()
    expect(reasonOf(session.signal)).toBe('idle')
  })

  it('that ends by itself says why, once', async () => {
    const { session } = await world.openSession()
    session.end('upstream-failed', new Error('reset'))
    session.end('client-closed')
    await Promise.all([session[Symbol.asyncDispose](), session[Symbol.asyncDispose]()])
    expect(closedMeta()).toMatchObject({ reason: 'upstream-failed', error: 'reset' })
    expect(closedMeta()?.cut).toBeUndefined()
    expect(world.registry.size).toBe(0)
    expect(world.clock.pendingTimers).toBe(1) // the watch over outages
  })

  it('has cancel keys of its own, which die with it and are rationed', async () => {
    const { session } = await world.openSession()
    let cancelled = 0
    const key = session.onCancel(() => (cancelled += 1))
    expect(key).toHaveLength(8)
    world.cancelKeys.run(Buffer.alloc(8), '127.0.0.1')
    expect(cancelled).toBe(0)
    for (let index = 0; index < 200; index++) world.cancelKeys.run(key, '127.0.0.1')
    expect(cancelled).toBe(49)
    world.cancelKeys.run(key, '127.0.0.2')
    expect(cancelled).toBe(50)
    await session[Symbol.asyncDispose]()
    world.cancelKeys.run(key, '127.0.0.3')
    expect(cancelled).toBe(50)
  })

  it('is given no socket to an address that the policy does not name', async () => {
    const network = { check: () => false }
    await make({
      policy: {
        secrets: [
          {
            reference: 'fake:**',
            matches: /^fake:/,
            addresses: [{ host: { network: network as never }, port: 5432 }],
            serverName: 'db.test',
            tls: 'disable',
            caPem: undefined,
            levels: ['read'],
          },
        ],
      },
    })
    await world.feed({
      kind: 'resource',
      resource: { ...ordersDb, address: { host: 'db.test', port: 5432 } },
    })
    const token = await world.confirmGrant()
    await world.feed({ kind: 'grant', token })
    const session = await world.admit()
    await expect(session.connect()).rejects.toMatchObject({ code: 'secret-not-bound' })
    await session[Symbol.asyncDispose]()
  })
})

describe('recordings', () => {
  it('go on through the farewell of a cut, and end before their session does', async () => {
    const { session } = await world.openSession()
    const recording = session.record('terminal', { activity: 0, title: '/bin/sh' })
    world.clock.advance(3_600_000)
    await turns()
    expect(reasonOf(session.signal)).toBe('grant-expired')
    recording.write('upstream', Buffer.from('your access has ended'))
    await session[Symbol.asyncDispose]()
    const end = world.spool.recorded.at(-1)!
    expect(world.spool.recorded.map(({ type }) => type)).toEqual([
      'recording',
      'recording',
      'recording-ended',
    ])
    const types = world.spool.events.map(({ type }) => type)
    expect(types.indexOf('session-cut')).toBeLessThan(end.events)
    expect(types.indexOf('session-closed')).toBe(end.events)
  })

  it('that cannot be written end the session, and none begins', async () => {
    const { session } = await world.openSession()
    const recording = session.record('terminal', { activity: 0, title: '/bin/sh' })
    world.spool.fail(new SallyportError('audit-unwritable', 'the disk is gone'))
    await turns()
    expect(reasonOf(session.signal)).toBe('audit-unwritable')
    expect(recording.write('client', Buffer.from('rm -rf /'))).toBe(false)
    expect(() => session.record('terminal', { activity: 0, title: '/bin/sh' })).toThrow(
      expect.objectContaining({ code: 'audit-unwritable' }) as Error,
    )
  })
})
