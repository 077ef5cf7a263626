import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { FeedEvent } from '../../../control/api/feed.ts'
import { signToken, type GrantClaims } from '../../../control/api/tokens.ts'
import type { Log } from '../../../protocols/engine.ts'
import { createControlClock } from '../../../proxy/control-link/control-clock.ts'
import { createControlView } from '../../../proxy/grants/control-view.ts'
import { createFreshness } from '../../../proxy/grants/freshness.ts'
import { openStateJournal } from '../../../proxy/grants/state-journal.ts'
import {
  createSigningKey,
  grantId,
  ordersDb,
  person,
  proxyId,
  silentLog,
} from '../../fakes/proxy-world.ts'
import { createTestClock } from '../../test-clock.ts'

let directory: string
const clock = createTestClock()
const signing = createSigningKey()
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'state-'))))
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const facts = {
  personId: person,
  kind: 'certificate' as const,
  serial: 'abc1',
  issuedAtMs: clock.wallMs() - 1_000,
}
const claims = (changes: Partial<GrantClaims> = {}): GrantClaims => ({
  realm: 'default',
  grantId,
  revision: 1,
  personId: person,
  personEmail: 'dev@example.test',
  resource: 'orders-db',
  level: 'read',
  group: 'default',
  issuedAtMs: clock.wallMs(),
  notBeforeMs: clock.wallMs(),
  expiresAtMs: clock.wallMs() + 3_600_000,
  ...changes,
})
const grant = async (changes: Partial<GrantClaims> = {}): Promise<FeedEvent> => ({
  kind: 'grant',
  token: await signToken('grant', claims(changes), signing.key),
})
const keys: FeedEvent = {
  kind: 'keys',
  keys: [{ kid: signing.kid, publicKeyPem: signing.publicKeyPem }],
}

async function boot(log: Log = silentLog, id = proxyId) {
  const view = createControlView(log)
  const journal = await openStateJournal({ directory, proxyId: id, view, clock, log })
  return {
    view,
    journal,
    async take(position: number, ...events: FeedEvent[]) {
      await view.apply(position, events)
      await journal.append(position, events)
    },
  }
}

const path = (): string => join(directory, 'journal')

describe('the state on disk', () => {
  it('brings back all that was applied, private to the proxy', async () => {
    const first = await boot()
    await first.take(1, keys, { kind: 'resource', resource: ordersDb }, await grant())
    await first.take(2, { kind: 'people-authorities', pems: ['PEM'] })
    expect(first.journal.position).toBe(2)
    await first.journal.close()
    expect(statSync(path()).mode & 0o777).toBe(0o600)

    const { view, journal } = await boot()
    expect(view.position).toBe(2)
    expect(view.resource('orders-db')).toEqual(ordersDb)
    expect(view.grants.of(person, 'orders-db')).toHaveLength(1)
    expect(view.peopleAuthorities).toEqual(['PEM'])
    expect(view.objection(facts, claims(), clock.wallMs())).toBeUndefined()
    await journal.close()
  })

  it('honours revocations after restarts, whatever older token comes again', async () => {
    const first = await boot()
    await first.take(1, keys, { kind: 'resource', resource: ordersDb }, await grant())
    await first.take(2, {
      kind: 'grant-revoked',
      grantId,
      revision: 3,
      orderedAtMs: clock.wallMs(),
      reason: '',
    })
    await first.journal.close()
    // The second boot reads what the rewrite of the first one left.
    for (let restart = 0; restart < 3; restart++) {
      const { view, journal } = await boot()
      const old = await grant({ revision: 2 })
      await view.apply(view.position + 1, [old])
      expect(view.grants.size).toBe(0)
      expect(view.objection(facts, claims({ revision: 2 }), clock.wallMs())).toBe('grant-revoked')
      await journal.close()
    }
    // Also a resync that brings the old token does not get below the floor; a new revision does.
    const { view, journal } = await boot()
    await view.replace(9, [keys, { kind: 'resource', resource: ordersDb }, await grant()])
    expect(view.grants.size).toBe(0)
    await view.apply(10, [await grant({ revision: 3 })])
    expect(view.grants.size).toBe(1)
    await journal.close()
  })

  it('never goes back to a lower revision that was seen', async () => {
    const first = await boot()
    await first.take(1, keys, await grant({ revision: 5, expiresAtMs: clock.wallMs() + 1_000 }))
    await first.journal.close()
    const { view, journal } = await boot()
    await view.apply(2, [await grant({ revision: 4 })])
    expect(view.grants.get(grantId)?.claims.revision).toBe(5)
    expect(view.floors.allows(claims({ revision: 4 }))).toBe(false)
    await journal.close()
  })

  it('remembers revoked people and certificates', async () => {
    const first = await boot()
    const atMs = clock.wallMs()
    await first.take(
      1,
      keys,
      { kind: 'person-revoked', personId: person, orderedAtMs: atMs },
      { kind: 'certificate-revoked', serial: 'dead', orderedAtMs: atMs, expiresAtMs: atMs + 1_000 },
    )
    await first.journal.close()
    const second = await boot()
    expect(second.view.certificateObjection(facts)).toBe('person-revoked')
    expect(second.view.certificateObjection({ ...facts, personId: proxyId, serial: 'dead' })).toBe(
      'certificate-revoked',
    )
    await second.take(2, { kind: 'person-restored', personId: person, atMs: atMs + 5_000 })
    await second.journal.close()
    // Restored: but only certificates from then on count, also after a resync that does not say so.
    const { view, journal } = await boot()
    await view.replace(3, [keys])
    expect(view.certificateObjection(facts)).toBe('certificate-revoked')
    expect(view.certificateObjection({ ...facts, issuedAtMs: atMs + 5_001 })).toBeUndefined()
    await journal.close()
  })

  it('cuts off a line that was being written, and distrusts any other damage', async () => {
    const first = await boot()
    await first.take(1, keys, { kind: 'resource', resource: ordersDb }, await grant())
    await first.journal.close()
    const whole = readFileSync(path())
    appendFileSync(path(), '0123456789abcdef {"kind":"events","posi')
    const second = await boot()
    expect(second.view.position).toBe(1)
    await second.journal.close()

    const middle = Math.floor(whole.length / 2)
    const damaged = Buffer.from(whole)
    damaged[middle] = damaged[middle]! ^ 1
    writeFileSync(path(), damaged)
    const third = await boot()
    expect(third.view.position).toBe(0)
    expect(third.view.resourceCount()).toBe(0)
    await third.journal.close()
  })

  it('of another proxy is not taken', async () => {
    const first = await boot()
    await first.take(1, keys, { kind: 'resource', resource: ordersDb })
    await first.journal.close()
    const second = await boot(silentLog, person)
    expect(second.view.position).toBe(0)
    await second.journal.close()
  })

  it('is not acknowledged when it could not be written', async () => {
    const first = await boot()
    await first.journal.close()
    rmSync(directory, { recursive: true, force: true })
    await expect(first.take(1, keys)).rejects.toThrow()
    expect(first.journal.failure).toBeDefined()
    expect(first.journal.position).toBe(0)
  })

  it('keeps concurrent appends in order, and rewrites a long file', async () => {
    const first = await boot()
    const description = 'x'.repeat(1_000)
    const appends: Promise<void>[] = []
    await first.take(1, keys)
    for (let position = 2; position <= 6_000; position++) {
      const events: FeedEvent[] = [
        {
          kind: 'resource',
          resource: { ...ordersDb, description: `${position} ${description}`.slice(0, 1_000) },
        },
      ]
      await first.view.apply(position, events)
      appends.push(first.journal.append(position, events))
    }
    await Promise.all(appends)
    await first.take(6_001, { kind: 'resource-removed', name: 'other', orderedAtMs: 1 })
    await first.take(6_002, { kind: 'resource-removed', name: 'other', orderedAtMs: 1 })
    expect(statSync(path()).size).toBeLessThan(100_000)
    await first.journal.close()
    const { view, journal } = await boot()
    expect(view.position).toBe(6_002)
    expect(view.resource('orders-db')?.description).toMatch(/^6000 /)
    await journal.close()
  })

  it('a lease survives a restart, but never one past the position on disk', async () => {
    const first = await boot()
    await first.take(1, keys)
    const parts = { directory, realm: 'default', proxyId, clock, log: silentLog }
    const lease = (position: number) =>
      signToken(
        'lease',
        { realm: 'default', proxyId, position, issuedAtMs: clock.wallMs() },
        signing.key,
      )
    const controlClock = createControlClock(clock)
    const fresh = await createFreshness({
      ...parts,
      view: first.view,
      controlClock,
      onDisk: () => first.journal.position,
    })
    await fresh.renew(await lease(1))
    await first.journal.close()
    clock.advance(7_000)
    const second = await boot()
    const later = (view: typeof second.view) =>
      createFreshness({ ...parts, view, controlClock: createControlClock(clock), onDisk: () => 0 })
    expect((await later(second.view)).leaseAgeMs()).toBe(7_000)
    await second.journal.close()
    rmSync(path())
    const third = await boot()
    await third.take(0, keys)
    expect((await later(third.view)).leaseAgeMs()).toBeUndefined()
    await third.journal.close()
  })

  it('a key that control withdrew takes its grants along', async () => {
    const booted = await boot()
    const { view, journal } = booted
    await booted.take(1, keys, await grant())
    const next = createSigningKey()
    await booted.take(2, {
      kind: 'keys',
      keys: [{ kid: next.kid, publicKeyPem: next.publicKeyPem }],
    })
    expect(view.grants.size).toBe(0)
    await expect(view.learn(((await grant()) as { token: string }).token)).rejects.toMatchObject({
      code: 'evidence-invalid',
    })
    await journal.close()
  })
})
