import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Cut } from '../../../protocols/session.ts'
import {
  advanceUntil,
  createProxyWorld,
  grantId,
  ordersDb,
  otherPerson,
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
  directory = mkdtempSync(join(tmpdir(), 'gate-'))
  await make()
})
afterEach(() => {
  world.stopWatching()
  rmSync(directory, { recursive: true, force: true })
})

const cutOf = (signal: AbortSignal): Cut => signal.reason as Cut

/** The refusal of an admission, and when it came. */
async function refusal(admission: Promise<unknown>) {
  const startedMs = world.clock.monotonicMs()
  const error = await advanceUntil(
    world,
    admission.then(
      () => undefined,
      (thrown: unknown) => thrown as SallyportError,
    ),
  )
  if (error === undefined) throw new Error('was admitted')
  const { code, clientMessage, hint, message } = error
  return { code, clientMessage, hint, why: message, afterMs: world.clock.monotonicMs() - startedMs }
}

describe('admission', () => {
  it('opens a session that control confirms, recorded before it is handed out', async () => {
    const { session } = await world.openSession()
    expect(session.labels).toMatchObject({ personId: person, resource: 'orders-db', level: 'read' })
    expect(world.control.asked).toMatchObject([
      { grantId, personId: person, resource: 'orders-db' },
    ])
    expect(world.spool.events).toMatchObject([
      {
        type: 'session-opened',
        meta: { account: 'reader', admittedBy: 'control', policyRule: 'fake:**' },
      },
    ])
    expect(world.dialled).toHaveLength(1)
    const credential = await session.borrow()
    expect(credential.account).toBe('reader')
    expect(credential.secret.reveal()).toBe('secret of orders-db/read')
  })

  it('opens a session under a grant that the feed has not brought yet, and dials only then', async () => {
    const token = await world.grantToken()
    let answer: (() => void) | undefined
    world.control.answer = () =>
      new Promise((resolve) => {
        answer = () => resolve({ kind: 'confirmed', token, position: world.view.position })
      })
    const admission = world.admit()
    await turns()
    expect(world.control.asked[0]!.grantId).toBeUndefined()
    expect(world.dialled).toHaveLength(0)
    answer!()
    await admission
    expect(world.dialled).toHaveLength(1)
  })

  it('dials beside the confirmation when the grant is known', async () => {
    await world.feed({ kind: 'grant', token: await world.grantToken() })
    world.control.answer = () => new Promise(() => undefined)
    void world.admit().catch(() => undefined)
    await turns()
    expect(world.dialled).toHaveLength(1)
  })

  it('takes the grant of the level or account that is named, else the newest', async () => {
    const write = '44444444-4444-4444-8444-444444444445'
    await world.feed(
      { kind: 'grant', token: await world.grantToken() },
      {
        kind: 'grant',
        token: await world.grantToken({
          grantId: write,
          level: 'write',
          notBeforeMs: world.clock.wallMs() + 1,
        }),
      },
    )
    for (const wanted of ['', 'read', 'reader', 'writer', 'admin']) {
      void refusal(world.admit({ wanted }))
      await turns()
    }
    const asked = world.control.asked.map((question) => question.grantId)
    expect(asked).toEqual([write, grantId, grantId, write, undefined])
  })

  it('refuses everything forbidden in the same words and the same time', async () => {
    const otherGrant = '44444444-4444-4444-8444-444444444446'
    await world.feed(
      {
        kind: 'grant',
        token: await world.grantToken({ grantId: otherGrant, personId: otherPerson }),
      },
      {
        kind: 'grant',
        token: await world.grantToken({ expiresAtMs: world.clock.wallMs() }),
      },
      { kind: 'resource', resource: { ...ordersDb, name: 'far-db', group: 'elsewhere' } },
    )
    const account = ordersDb.levels.read!.account
    const asked = [
      ...[['unknown-x'], ['orders-db'], ['far-db.access.test']],
      ...[
        ['orders-db', 'admin'],
        ['unknown-x', 'admin'],
      ],
      ...[
        ['orders-db', account],
        ['unknown-x', account],
      ],
    ] as const
    for (const [resource, wanted = ''] of asked) {
      const name = resource.replace('.access.test', '')
      // Nothing is in it but what the client said itself.
      const level = wanted === account ? 'LEVEL' : wanted || 'read'
      expect(await refusal(world.admit({ resource, wanted }))).toEqual({
        ...{ code: 'access-denied', afterMs: 250, why: expect.any(String) as string },
        clientMessage: `access to "${name}" is not granted`,
        hint: `ask for it: sally request ${name} --level ${level} --reason TEXT --wait; what you may ask for: sally resources`,
      })
    }
    expect(world.dialled).toHaveLength(0)
    expect(world.control.asked).toHaveLength(asked.length)
    expect(world.spool.events.map((event) => event.type)).toEqual(
      Array.from(asked, () => 'session-refused'),
    )
  })

  it('never takes the grant of another person, resource or group from control', async () => {
    for (const wrong of [
      { personId: otherPerson },
      { resource: 'unknown-x' },
      { group: 'elsewhere' },
      { realm: 'other' },
      { expiresAtMs: world.clock.wallMs() - 1 },
      { notBeforeMs: world.clock.wallMs() + 60_000 },
    ]) {
      await make()
      await world.confirmGrant(wrong)
      const answer = await refusal(world.admit())
      expect(answer.code).toBe('access-denied')
      expect(answer.afterMs).toBeGreaterThanOrEqual(250)
      expect(world.dialled).toHaveLength(0)
    }
  })

  it('answers a late refusal at the next multiple', async () => {
    world.control.answer = async () => {
      await turns(1)
      world.clock.advance(300)
      return { kind: 'denied', why: 'no-grant', position: 0 }
    }
    expect((await refusal(world.admit())).afterMs).toBe(500)
  })

  it('treats an error of control as a denial, never as an outage', async () => {
    await world.feed({ kind: 'grant', token: await world.grantToken() })
    await world.freshness.renew(await world.lease())
    world.control.answer = () => Promise.resolve({ kind: 'denied', why: 'error', position: 1 })
    expect((await refusal(world.admit())).code).toBe('access-denied')
    expect(world.dialled.every((socket) => socket.destroyed)).toBe(true)
  })

  it('refuses when the clocks disagree', async () => {
    await world.confirmGrant()
    world.controlClock.sample(world.clock.wallMs() + 2_500)
    expect((await refusal(world.admit())).code).toBe('clock-skew')
    world.clock.skewWall(2_500)
    await world.admit()
    // Late, as far as anybody can tell, until an answer says that it is not.
    world.controlClock.reset()
    world.controlClock.sample(world.clock.wallMs() - 60_000)
    await world.admit()
    world.controlClock.sample(world.clock.wallMs() - 60_000, world.clock.monotonicMs() - 5)
    expect((await refusal(world.admit())).code).toBe('clock-skew')
  })

  it('refuses strangers without filling the spool', async () => {
    const answer = await refusal(world.admit({ evidence: { kind: 'none' } }))
    expect(answer).toMatchObject({ code: 'evidence-missing', afterMs: 250 })
    expect(world.spool.events).toEqual([])
    expect(world.refused).toEqual([{ code: 'evidence-missing' }])
  })

  it('records the refusals of one person only so often, and says how many it left out', async () => {
    const knock = async (times: number) =>
      Promise.all(Array.from({ length: times }, () => refusal(world.admit({ resource: 'nope' }))))
    await knock(150)
    expect(world.refused).toHaveLength(150)
    expect(world.spool.events).toHaveLength(100)
    world.clock.advance(2_000)
    await knock(1)
    expect(world.spool.events).toHaveLength(101)
    expect(world.spool.events.at(-1)!.meta).toMatchObject({
      why: expect.stringContaining('(and 50 more before this one)'),
    })
  })

  it('tells strangers nothing of how it is doing', async () => {
    world.drainNow()
    const answer = await refusal(world.admit({ evidence: { kind: 'none' } }))
    expect(answer.code).toBe('evidence-missing')
  })

  it('refuses while draining, and while the spool is nearly full', async () => {
    await world.confirmGrant()
    world.spool.isRefusing = true
    expect((await refusal(world.admit())).code).toBe('audit-full')
    world.spool.isRefusing = false
    world.drainNow()
    expect((await refusal(world.admit())).code).toBe('proxy-draining')
  })

  it('refuses a session whose opening cannot be recorded', async () => {
    await world.confirmGrant()
    world.spool.commit = () => Promise.reject(new SallyportError('audit-unwritable', 'no disk'))
    expect((await refusal(world.admit())).code).toBe('audit-unwritable')
    expect(world.registry.size).toBe(0)
    expect(world.dialled.every((socket) => socket.destroyed)).toBe(true)
  })

  it('holds its limits of sessions', async () => {
    await make({ limits: { sessionsPerPersonMax: 2, sessionsMax: 3 } })
    await world.openSession()
    await world.openSession()
    expect((await refusal(world.admit())).code).toBe('limit-reached')
  })

  it('does not dial, and says so late, where the policy binds nothing', async () => {
    await make({ policy: { secrets: [] } })
    await world.confirmGrant()
    await world.feed({ kind: 'grant', token: await world.grantToken() })
    expect(await refusal(world.admit())).toMatchObject({ code: 'secret-not-bound', afterMs: 250 })
    expect(world.dialled).toHaveLength(0)
  })

  it('waits for the feed to reach the confirmed position, and for no longer than its limit', async () => {
    const token = await world.grantToken()
    world.control.answer = () =>
      Promise.resolve({ kind: 'confirmed', token, position: world.view.position + 1 })
    let isIn = false
    const admission = world.admit().then(() => (isIn = true))
    await turns(50)
    expect(isIn).toBe(false)
    await world.feed()
    await admission

    // A feed that does not move is an outage: without a lease nobody gets in.
    expect((await refusal(world.admit())).code).toBe('control-unreachable')
  })
})

describe('an outage', () => {
  const away = (): void => {
    world.control.answer = () => Promise.resolve({ kind: 'unreachable', why: 'test' })
  }
  const withPolicy = (policy: 'keep' | 'hold' | 'cut') => ({
    kind: 'resource' as const,
    resource: { ...ordersDb, outage: { policy, maxMs: 60_000, graceMs: 5_000 } },
  })

  it('keep: opens under a lease, audited as such, until the lease is too old', async () => {
    await world.feed(withPolicy('keep'), { kind: 'grant', token: await world.grantToken() })
    away()
    expect((await refusal(world.admit())).code).toBe('control-unreachable')
    await world.freshness.renew(await world.lease())
    world.clock.advance(59_000)
    await world.admit()
    expect(world.spool.events.at(-1)).toMatchObject({ meta: { admittedBy: 'lease' } })
    world.clock.advance(2_000)
    expect((await refusal(world.admit())).code).toBe('control-unreachable')
  })

  it('tells nobody without a grant that there is an outage', async () => {
    away()
    await world.freshness.renew(await world.lease())
    const answer = await refusal(world.admit())
    expect(answer).toMatchObject({ code: 'access-denied', afterMs: 250 })
  })

  it('takes no lease of another proxy, realm, key, future view, and none that is older', async () => {
    const stranger = (await import('../../fakes/proxy-world.ts')).createSigningKey()
    const forged = await world.lease({}, stranger.key)
    const renamed = { ...stranger.key, kid: world.signing.kid }
    for (const bad of [
      await world.lease({ proxyId: person }),
      await world.lease({ realm: 'other' }),
      forged,
      await world.lease({}, renamed),
      await world.lease({ position: world.view.position + 1 }),
      await world.grantToken(),
    ]) {
      await expect(world.freshness.renew(bad)).rejects.toMatchObject({ code: 'evidence-invalid' })
    }
    expect(world.freshness.leaseAgeMs()).toBeUndefined()
    const old = await world.lease()
    world.clock.advance(10_000)
    await world.freshness.renew(await world.lease())
    await world.freshness.renew(old)
    expect(world.freshness.leaseAgeMs()).toBe(0)
  })

  it('a clock set back does not make a lease younger', async () => {
    await world.feed(withPolicy('keep'), { kind: 'grant', token: await world.grantToken() })
    world.controlClock.sample(world.clock.wallMs())
    await world.freshness.renew(await world.lease())
    world.clock.advance(61_000)
    world.clock.skewWall(-61_000)
    away()
    expect(world.freshness.covers(world.view.resource('orders-db')!)).toBe(false)
  })

  it('hold: live sessions go on, new ones are refused after the grace', async () => {
    await world.feed(withPolicy('hold'))
    await world.freshness.renew(await world.lease())
    const { session } = await world.openSession()
    away()
    world.clock.advance(6_000)
    await turns()
    expect(session.signal.aborted).toBe(false)
    expect((await refusal(world.admit())).code).toBe('control-unreachable')
  })

  it('cut: live sessions end after the grace, not before', async () => {
    await world.feed(withPolicy('cut'))
    await world.freshness.renew(await world.lease())
    const { session } = await world.openSession()
    world.clock.advance(4_900)
    await turns()
    expect(session.signal.aborted).toBe(false)
    world.clock.advance(400)
    await turns()
    expect(cutOf(session.signal).reason).toBe('outage')
  })

  it('a control that refuses this proxy is no outage: everything ends after the grace', async () => {
    await world.freshness.renew(await world.lease())
    const { session } = await world.openSession()
    world.control.linkState = 'refused'
    world.clock.advance(6_000)
    await turns()
    expect(cutOf(session.signal).reason).toBe('outage')
  })

  it('a revocation from before the outage counts, whatever token comes back', async () => {
    const token = await world.grantToken()
    await world.feed({ kind: 'grant', token })
    await world.freshness.renew(await world.lease())
    await world.feed({
      kind: 'grant-revoked',
      grantId,
      revision: 2,
      orderedAtMs: world.clock.wallMs(),
      reason: '',
    })
    await world.feed({ kind: 'grant', token })
    away()
    expect((await refusal(world.admit())).code).toBe('access-denied')
    world.control.answer = () =>
      Promise.resolve({ kind: 'confirmed', token, position: world.view.position })
    expect((await refusal(world.admit())).code).toBe('access-denied')
  })
})
