import type { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { SessionClosedMeta } from '../../../control/api/audit/format.ts'
import type { Confirmation } from '../../../proxy/control-link/confirmations.ts'
import type { Arrival } from '../../../protocols/engine.ts'
import type { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Cut, Session } from '../../../protocols/session.ts'
import {
  advanceUntil,
  createProxyWorld,
  FakeSocket,
  grantId,
  ordersDb,
  otherPerson,
  person,
  turns,
  type ProxyWorld,
} from '../../fakes/proxy-world.ts'

const newer = '44444444-4444-4444-8444-444444444445'
let world: ProxyWorld
beforeEach(async () => {
  world = await createProxyWorld()
})
afterEach(() => world.close())

const lease = (changes: Partial<Arrival> = {}, personId = person): Promise<Session> =>
  world.leases.lease(world.arrival(changes, personId))
const idOf = ({ labels }: Session): string => labels.sessionId
const reasonOf = ({ signal }: Session): string | undefined =>
  (signal.reason as Cut | undefined)?.reason
const closings = (): SessionClosedMeta[] =>
  world.spool.events
    .filter(({ type }) => type === 'session-closed')
    .map(({ meta }) => meta as SessionClosedMeta)
const refusal = async (asked: Promise<unknown>): Promise<SallyportError> => {
  const error = await advanceUntil(
    world,
    asked.then(
      () => undefined,
      (thrown: unknown) => thrown as SallyportError,
    ),
  )
  if (error === undefined) throw new Error('was let in')
  return error
}

async function grant(changes: Parameters<ProxyWorld['grantToken']>[0] = {}): Promise<void> {
  await world.feed({ kind: 'grant', token: await world.confirmGrant(changes) })
}

/** Control answers when the test lets it. */
async function holdControl(): Promise<() => void> {
  const token = await world.grantToken()
  await world.feed({ kind: 'grant', token })
  const waiting: (() => void)[] = []
  world.control.answer = () =>
    new Promise<Confirmation>((resolve) =>
      waiting.push(() => resolve({ kind: 'confirmed', token, position: world.view.position })),
    )
  return () => {
    for (const answer of waiting.splice(0)) answer()
  }
}

describe('one session, many leases', () => {
  it('is not shared with who shows the same from another address: the record says from where', async () => {
    await grant()
    const one = await lease({ remoteAddress: '10.0.0.1' })
    const other = await lease({ remoteAddress: '10.0.0.2' })
    expect(idOf(other)).not.toBe(idOf(one))
    expect(idOf(await lease({ remoteAddress: '10.0.0.1' }))).toBe(idOf(one))
    const opened = world.spool.events.filter(({ type }) => type === 'session-opened')
    expect(opened.map(({ meta }) => (meta as { remoteAddress: string }).remoteAddress)).toEqual([
      ...['10.0.0.1', '10.0.0.2'],
    ])
  })

  it('admits once for a thousand that arrive together, and for those that come later', async () => {
    await grant()
    const leases = await Promise.all(Array.from({ length: 1_000 }, () => lease()))
    leases.push(await lease())
    expect(new Set(leases.map(idOf)).size).toBe(1)
    expect(world.registry.size).toBe(1)
    expect(world.control.asked).toHaveLength(1)
    expect(world.spool.events).toHaveLength(1)
    await Promise.all(leases.map((each) => each[Symbol.asyncDispose]()))
    expect(world.registry.size).toBe(1)
    expect(idOf(await lease())).toBe(idOf(leases[0]!))
  })

  it('shares nothing between people, certificates, levels, resources or protocols', async () => {
    await grant()
    const own = await lease()
    const sameName = await lease({ resource: 'ORDERS-DB' })
    expect(idOf(sameName)).toBe(idOf(own))
    expect(idOf(await lease({ wanted: 'read' }))).not.toBe(idOf(own))
    const later = `${person} until ${world.clock.wallMs() + 1_000_000}`
    expect(idOf(await lease({}, later))).not.toBe(idOf(own))
    expect((await refusal(lease({}, otherPerson))).code).toBe('access-denied')
    expect((await refusal(lease({ wanted: 'write' }))).code).toBe('access-denied')
    expect((await refusal(lease({ protocol: 'http' }))).code).toBe('access-denied')
    expect((await refusal(lease({ resource: 'other-db' }))).code).toBe('access-denied')
  })

  it('has nobody share what cannot be shown twice', async () => {
    const nobody = { evidence: { kind: 'none' } } as const
    expect((await refusal(lease(nobody))).code).toBe('evidence-missing')
    expect(world.leases.size).toBe(0)
  })

  it('refuses all who wait for an admission that is refused, each after its own time', async () => {
    const early = lease().catch((error: unknown) => error)
    await turns()
    world.clock.advance(100)
    const startedMs = world.clock.monotonicMs()
    const late = lease()
    expect((await refusal(late)).code).toBe('access-denied')
    expect(world.clock.monotonicMs() - startedMs).toBeGreaterThanOrEqual(world.limits.refusalMs)
    expect(await early).toMatchObject({ code: 'access-denied' })
    expect(world.control.asked).toHaveLength(1)
    await grant()
    await lease()
    expect(world.registry.size).toBe(1)
  })

  it('ends after its time without leases, and not before', async () => {
    await grant()
    const [one, other] = [await lease(), await lease()]
    one.opened(() => {})
    await one[Symbol.asyncDispose]()
    await one[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs)
    await turns()
    expect(world.registry.size).toBe(1)
    await other[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs - 1)
    const again = await lease()
    expect(idOf(again)).toBe(idOf(one))
    world.clock.advance(world.limits.unusedSessionMs * 2)
    await turns()
    expect(world.registry.size).toBe(1)
    await again[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs)
    await turns()
    expect(world.registry.size).toBe(0)
    expect(world.leases.size).toBe(0)
    expect(closings()).toMatchObject([{ reason: 'client-closed' }])
    expect(idOf(await lease())).not.toBe(idOf(one))
  })

  it('is given back once: whoever does it again does not lengthen the wait', async () => {
    await grant()
    const one = await lease()
    await one[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs - 1)
    await one[Symbol.asyncDispose]()
    world.clock.advance(1)
    await turns()
    expect(world.registry.size).toBe(0)
  })

  it('has a lease end without ending the others, whatever it says of why', async () => {
    await grant()
    const [one, other] = [await lease(), await lease()]
    one.end('upstream-failed', new Error('a stream of one'))
    await one[Symbol.asyncDispose]()
    expect(other.signal.aborted).toBe(false)
    const upstream = await other.connect()
    expect(other.forward(upstream, Buffer.from('x'))).toBe(true)
    await other[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs)
    await turns()
    expect(closings()).toMatchObject([{ reason: 'client-closed' }])
  })

  it('tells every lease of a warning and of a drain, and none that was given back', async () => {
    await grant()
    const [one, other, gone] = [await lease(), await lease(), await lease()]
    const told: string[] = []
    for (const [name, each] of Object.entries({ one, other, gone })) {
      each.opened(() => told.push(`${name} warned`))
      each.onDrain((target: Writable | undefined) =>
        told.push(`${name} drained ${String(!!target)}`),
      )
    }
    await gone[Symbol.asyncDispose]()
    const target = new FakeSocket()
    target.isStuck = true
    const big = Buffer.alloc(2 * 1024 * 1024)
    expect(one.forward(target.socket, big)).toBe(false)
    await turns()
    target.isStuck = false
    target.destroy()
    await turns()
    expect(told).toEqual(expect.arrayContaining(['one drained true', 'other drained true']))
    expect(told.join()).not.toMatch('gone')
    world.clock.advance(3_300_000)
    await turns()
    expect(told.filter((line) => line.endsWith('warned'))).toEqual(['one warned', 'other warned'])
  })

  it('keeps one thing for all of its leases', async () => {
    await grant()
    const key = Symbol('pool')
    let disposed = 0
    const make = () => ({ [Symbol.dispose]: () => void (disposed += 1) })
    const [one, other] = [await lease(), await lease()]
    expect(one.keep(key, make)).toBe(other.keep(key, make))
    await one[Symbol.asyncDispose]()
    await other[Symbol.asyncDispose]()
    expect(disposed).toBe(0)
    world.clock.advance(world.limits.unusedSessionMs)
    await turns()
    expect(disposed).toBe(1)
  })
})

describe('an end', () => {
  it('reaches every lease at once; the next begins anew, and is refused under what was revoked', async () => {
    await grant()
    const [one, other] = [await lease(), await lease()]
    await world.feed({
      kind: 'grant-revoked',
      ...{ grantId, revision: 2, orderedAtMs: world.clock.wallMs(), reason: 'test' },
    })
    // Not even in the turn of the cut, before anybody is told.
    world.control.answer = () =>
      Promise.resolve({ kind: 'denied', why: 'grant-ended', position: 0 })
    const next = lease()
    await turns()
    expect([reasonOf(one), reasonOf(other)]).toEqual(['grant-revoked', 'grant-revoked'])
    expect((await refusal(next)).code).toBe('access-denied')
    expect(() => one.opened(() => {})).toThrow(/grant-revoked/)
    await Promise.all([one, other].map((each) => each[Symbol.asyncDispose]()))
    expect(world.registry.size).toBe(0)
    expect(world.leases.size).toBe(0)
  })

  it.each([
    ['a person', { kind: 'person-revoked', personId: person, orderedAtMs: 1 }],
    [
      'a certificate',
      { kind: 'certificate-revoked', serial: 'abc1', orderedAtMs: 1, expiresAtMs: 9e12 },
    ],
  ] as const)('by revoking %s leaves nothing to lease', async (_, event) => {
    await grant()
    const one = await lease()
    await world.feed(event)
    expect((await refusal(lease())).code).toBe('evidence-invalid')
    expect(one.signal.aborted).toBe(true)
    await one[Symbol.asyncDispose]()
    expect(world.registry.size).toBe(0)
  })

  it('between asking and being admitted gives nobody a lease', async () => {
    const answer = await holdControl()
    const all = Array.from({ length: 20 }, () => lease().catch((error: unknown) => error))
    await turns()
    await world.feed({ kind: 'person-revoked', personId: person, orderedAtMs: 1 })
    answer()
    const outcomes = await advanceUntil(world, Promise.all(all))
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 'evidence-invalid' })
    expect(world.registry.size).toBe(0)
    expect(world.leases.size).toBe(0)
  })

  it('in the very commit of its opening gives nobody a lease, and leaves no session', async () => {
    await grant()
    const committed = Promise.withResolvers<void>()
    world.spool.commit = () => committed.promise
    const all = Array.from({ length: 5 }, () => lease().catch((error: unknown) => error))
    // Signatures are verified off the loop.
    while (world.registry.size === 0) await turns()
    await world.feed({
      kind: 'session-cut',
      sessionId: [...world.registry.all()][0]!.labels.sessionId,
      ...{ orderedAtMs: 1, reason: 'test' },
    })
    world.spool.commit = () => Promise.resolve()
    committed.resolve()
    const outcomes = await advanceUntil(world, Promise.all(all))
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 'access-denied' })
    expect(world.registry.size).toBe(0)
    expect(world.leases.size).toBe(0)
  })

  it('of a session that nobody holds does not wait for anybody', async () => {
    await grant()
    const one = await lease()
    await one[Symbol.asyncDispose]()
    await world.feed({ kind: 'person-revoked', personId: person, orderedAtMs: 1 })
    await turns()
    world.clock.advance(world.limits.farewellMs)
    await turns()
    expect(world.registry.size).toBe(0)
    expect(world.leases.size).toBe(0)
    expect(closings()).toMatchObject([{ reason: 'person-revoked' }])
  })

  it('is not there for the evidence’s own time: what is open goes on, and nothing begins', async () => {
    await grant()
    const certificate = `${person} until ${world.clock.wallMs() + 60_000}`
    const one = await lease({}, certificate)
    world.clock.advance(59_999)
    await lease({}, certificate)
    world.clock.advance(1)
    expect((await refusal(lease({}, certificate))).code).toBe('evidence-expired')
    expect(one.signal.aborted).toBe(false)
  })

  it('comes by idleness though leases are held', async () => {
    await world.feed({ kind: 'resource', resource: { ...ordersDb, idleMs: 30_000 } })
    await grant()
    const one = await lease()
    one.opened(() => {})
    world.clock.advance(29_999)
    await turns()
    expect(one.signal.aborted).toBe(false)
    world.clock.advance(1)
    await turns()
    expect(reasonOf(one)).toBe('idle')
    expect(idOf(await lease())).not.toBe(idOf(one))
  })

  it('comes at once to what nobody holds when the proxy drains, and to the rest when it is given back', async () => {
    await grant()
    const held = await lease()
    const unheld = await lease({ wanted: 'read' })
    await unheld[Symbol.asyncDispose]()
    world.leases.drain()
    await turns()
    expect(world.registry.size).toBe(1)
    await held[Symbol.asyncDispose]()
    world.clock.advance(1)
    await turns()
    expect(world.registry.size).toBe(0)
  })
})

describe('the newest grant', () => {
  const later = () => ({
    grantId: newer,
    level: 'write' as const,
    notBeforeMs: world.clock.wallMs() + 1,
  })

  it('is what one without a level gets, also where there was a session before', async () => {
    await grant()
    const one = await lease()
    expect(one.labels.level).toBe('read')
    world.clock.advance(10)
    await grant(later())
    const other = await lease()
    expect(other.labels).toMatchObject({ grantId: newer, level: 'write' })
    expect(idOf(await lease())).toBe(idOf(other))
    // Whoever had one keeps it, until it is given back for long.
    expect(one.signal.aborted).toBe(false)
    await one[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs)
    await turns()
    expect(world.registry.size).toBe(1)
    expect(idOf(await lease())).toBe(idOf(other))
  })

  it('begins a session once, also where control names another', async () => {
    await grant()
    const one = await lease()
    world.clock.advance(10)
    const token = await world.grantToken(later())
    await world.feed({ kind: 'grant', token })
    const other = await lease()
    expect(idOf(other)).not.toBe(idOf(one))
    for (let n = 0; n < 5; n++) expect(idOf(await lease())).toBe(idOf(other))
  })
})

describe('what a lease tells of its session', () => {
  it('is near its end once the first warning is due, also to a lease of later; an extension moves both', async () => {
    await grant()
    const one = await lease()
    one.opened(() => {})
    const endMs = one.expiresAtMs
    expect([endMs, one.warning]).toEqual([one.labels.expiresAtMs, undefined])
    world.clock.advance(3_300_000)
    expect(one.warning).toContain('ends in 5m')
    const later = await lease()
    later.opened(() => {})
    world.clock.advance(100_000)
    expect([one.warning, later.warning]).toEqual([one.warning, one.warning])
    expect(one.warning).toContain('ends in 4m')
    await grant({ revision: 2, expiresAtMs: endMs + 3_600_000 })
    expect([later.expiresAtMs, later.warning]).toEqual([endMs + 3_600_000, undefined])
    expect(later.labels.expiresAtMs).toBe(endMs)
  })

  it('is over after a call that threw, and the next lease is of another', async () => {
    await grant()
    const one = await lease()
    one.opened(() => {})
    expect(one.isOver).toBe(false)
    one.forwardCall(() => {
      throw new Error('thrown upstream')
    })
    await turns()
    expect([one.isOver, one.signal.aborted]).toEqual([true, false])
    const next = await lease()
    expect(idOf(next)).not.toBe(idOf(one))
    expect(next.isOver).toBe(false)
  })

  it('is not over after a cut: of that the signal tells', async () => {
    await grant()
    const one = await lease()
    await world.feed({
      kind: 'grant-revoked',
      ...{ grantId, revision: 2, orderedAtMs: world.clock.wallMs(), reason: 'test' },
    })
    await turns()
    expect([one.isOver, reasonOf(one)]).toEqual([false, 'grant-revoked'])
  })

  it('keeps by person what all of their sessions share, to the end of the last of them', async () => {
    await grant()
    const key = Symbol('counter')
    let disposed = 0
    const make = () => ({ [Symbol.dispose]: () => void (disposed += 1) })
    const [one, other] = [await lease(), await lease({ wanted: 'read' })]
    expect(idOf(one)).not.toBe(idOf(other))
    expect(one.keep(key, make, 'person')).toBe(other.keep(key, make, 'person'))
    expect(one.keep(key, make)).not.toBe(other.keep(key, make))
    await one[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs)
    await turns()
    // Its own, and not yet theirs.
    expect(disposed).toBe(1)
    await other[Symbol.asyncDispose]()
    world.clock.advance(world.limits.unusedSessionMs)
    await turns()
    expect(disposed).toBe(3)
  })

  it('knows which level of another grant covers more, and of none for who named one', async () => {
    await grant()
    const own = await lease()
    expect(own.levelCovering?.('write')).toBeUndefined()
    const token = await world.grantToken({ grantId: newer, level: 'write' })
    await world.feed({ kind: 'grant', token })
    expect(own.levelCovering?.('write')).toBe('write')
    expect(own.levelCovering?.('delete')).toBeUndefined()
    expect(own.levelCovering?.('read')).toBe('read')
    expect((await lease({ wanted: 'read' })).levelCovering?.('write')).toBeUndefined()
    await world.feed({
      kind: 'grant-revoked',
      ...{ grantId: newer, revision: 2, orderedAtMs: world.clock.wallMs(), reason: 'test' },
    })
    expect(own.levelCovering?.('write')).toBeUndefined()
  })
})
