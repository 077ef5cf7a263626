/**
 * Control out of the proxy's reach, and alive on its own side: every process is real, and the network between the two is a
 * relay that can be cut. What goes on, what opens, what is refused, and what takes effect when it is back.
 */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { OutagePolicy } from '../../control/api/resource.ts'
import type { Grant } from '../../control/api/shapes.ts'
import { eventually } from '../demo-site.ts'
import { startRelay, type Relay } from '../fakes/relay.ts'
import { accountOf, psql, stackDatabase, stackDomain, startStack } from '../stack.ts'
import type { Ran, Stack, StackPerson } from '../stack.ts'

/** How long a lease lets sessions of `keep-db` open. */
const keepMs = 6_000
const graceMs = 1_000
const hourMs = 3_600_000

/** What psql says when all is well. */
const opened = { code: 0, output: '1\n', errors: '' }
const unreachable = /FATAL: .*control cannot be reached/
const notGranted = /FATAL: .*is not granted/
const revoked = /FATAL: .*was revoked/

let stack: Stack
let relay: Relay
let dev: StackPerson
let probe: StackPerson
const held: Held[] = []

/** A session that is open, and how it ended. */
interface Held {
  readonly client: Client
  /** What the proxy said when it ended the session; undefined while it lives. */
  ended: string | undefined
}

beforeAll(async () => {
  stack = await startStack({
    limits: { confirmMs: 700 },
    between: async (port) => {
      relay = await startRelay(port)
      return relay.port
    },
  })
  ;[dev, probe] = await Promise.all([stack.person('dev'), stack.person('probe')])
  const outage = (policy: OutagePolicy, maxMs: number) => ({ policy, maxMs, graceMs })
  await stack.api.call('resourcesApply', {
    body: {
      file: {
        resources: [
          resource('keep-db', outage('keep', keepMs)),
          resource('long-db', outage('keep', 600_000)),
          resource('hold-db', outage('hold', 600_000)),
          resource('cut-db', outage('cut', 600_000)),
        ],
      },
    },
  })
})
afterEach(async () => {
  for (const { client } of held.splice(0)) await client.end().catch(() => undefined)
  relay.mend()
  await caughtUp()
})
afterAll(async () => {
  relay?.close()
  await stack?.stop()
})

function resource(name: string, outage: { policy: OutagePolicy; maxMs: number; graceMs: number }) {
  const { cluster } = stack
  return {
    name,
    protocol: 'postgres' as const,
    address: { host: '127.0.0.1', port: cluster.port },
    tls: { mode: 'verify-full' as const, serverName: cluster.serverName },
    levels: { read: { account: accountOf('read'), secret: 'sealed:orders-db/read' } },
    outage,
  }
}

const grant = (name: string, forMs = hourMs, person = dev): Promise<Grant> =>
  stack.grant(person, { resource: name, forMs })
const revoke = (id: string) =>
  stack.api.call('grantRevoke', { params: { id }, body: { reason: 'over' } })
const ask = (name: string, sql = 'select 1', person = dev): Promise<Ran> =>
  psql(person.psqlEnvironment({ resource: name }), sql)

async function hold(name: string, person = dev): Promise<Held> {
  const client = new Client({
    host: '127.0.0.1',
    port: stack.proxyPort,
    user: `~${name}`,
    database: stackDatabase,
    ssl: {
      servername: `${name}.${stackDomain}`,
      ca: readFileSync(stack.caFile),
      cert: person.certificatePem,
      key: person.keyPem,
    },
  })
  const session: Held = { client, ended: undefined }
  client.on('error', (error) => (session.ended ??= `FATAL: ${error.message}`))
  await client.connect()
  held.push(session)
  return session
}
const isAlive = async ({ client }: Held): Promise<boolean> =>
  (await client.query<{ one: number }>('select 1 as one')).rows[0]?.one === 1
const ending = (session: Held): Promise<string | undefined> =>
  eventually(
    () => session.ended,
    (ended) => ended !== undefined,
  )

/** Until the link is back: a grant that was made afterwards works by control's word alone. */
async function caughtUp(): Promise<void> {
  const made = await grant('long-db', hourMs, probe)
  await eventually(
    () => ask('long-db', 'select 1', probe),
    ({ code }) => code === 0,
  )
  await revoke(made.id)
}

describe('the link is cut', () => {
  test('each policy does what it says, and expiry still cuts', async () => {
    for (const name of ['keep-db', 'long-db', 'hold-db', 'cut-db']) await grant(name)
    const keep = await hold('keep-db')
    const holding = await hold('hold-db')
    const cut = await hold('cut-db')
    const brief = await stack.person('brief')
    const briefGrant = await grant('keep-db', 4_000, brief)
    const expiring = ask('keep-db', 'select pg_sleep(60)', brief)
    await eventually(
      () => stack.api.call('sessions', { query: { state: 'live', limit: 100 } }),
      ({ items }) => items.some((session) => session.grantId === briefGrant.id),
    )

    relay.cut()
    const cutAtMs = performance.now()
    // Under the lease at once; who has no grant gets the words that they always get.
    expect(await ask('keep-db')).toMatchObject(opened)
    const stranger = await stack.person('stranger')
    expect((await ask('keep-db', 'select 1', stranger)).errors).toMatch(notGranted)

    // `cut` ends what lives, after the grace; `hold` and `keep` do not.
    expect(await ending(cut)).toMatch(unreachable)
    expect((await ask('cut-db')).errors).toMatch(unreachable)
    await eventually(
      () => ask('hold-db'),
      ({ errors }) => unreachable.test(errors),
    )
    expect(await isAlive(holding)).toBe(true)

    // The end of a grant needs no network.
    const { code, errors } = await expiring
    expect(code).not.toBe(0)
    expect(errors).toMatch(/FATAL: .*your access to "keep-db" has ended/)
    expect(Date.now()).toBeGreaterThanOrEqual(briefGrant.expiresAtMs)
    expect((await ask('keep-db', 'select 1', brief)).errors).toMatch(notGranted)

    // No lease is younger than the cut: once that is `maxMs` ago, nothing opens any more.
    await wait(Math.max(0, cutAtMs + keepMs - performance.now()))
    expect((await ask('keep-db')).errors).toMatch(unreachable)
    expect(await ask('long-db')).toMatchObject(opened)
    expect(await isAlive(keep)).toBe(true)
    expect(await isAlive(holding)).toBe(true)

    relay.mend()
    for (const name of ['keep-db', 'hold-db', 'cut-db']) {
      await eventually(
        () => ask(name),
        (answer) => answer.code === 0,
      )
    }
    expect(await isAlive(keep)).toBe(true)
    await revokeAll()
  })

  test('what was ordered on the other side takes effect when it is back', async () => {
    const people = await Promise.all(
      ['grant', 'late', 'fired', 'lost', 'cut', 'longer', 'other'].map((name) =>
        stack.person(`side-${name}`),
      ),
    )
    const [byGrant, late, fired, lost, byAdmin, longer, other] = people as [
      ...[StackPerson, StackPerson, StackPerson, StackPerson],
      ...[StackPerson, StackPerson, StackPerson],
    ]
    const grants = new Map<StackPerson, Grant>()
    for (const person of people) {
      grants.set(person, await grant('long-db', person === longer ? 9_000 : hourMs, person))
    }
    const sessions = new Map<StackPerson, Held>()
    for (const person of people) {
      if (person !== late) sessions.set(person, await hold('long-db', person))
    }
    const { items } = await eventually(
      () => stack.api.call('sessions', { query: { state: 'live', limit: 100 } }),
      (page) => page.items.some((session) => session.personId === byAdmin.id),
    )
    const cutSession = items.find((session) => session.personId === byAdmin.id)!

    relay.cut()
    await revoke(grants.get(byGrant)!.id)
    await revoke(grants.get(late)!.id)
    await stack.api.call('personRevoke', { params: { id: fired.id }, body: { reason: 'x' } })
    const { serialNumber } = new X509Certificate(lost.certificatePem)
    await stack.api.call('certificateRevoke', {
      params: { serial: serialNumber.toLowerCase().replace(/^0+/, '') },
      body: { reason: 'x' },
    })
    await stack.api.call('sessionCut', {
      params: { id: cutSession.id },
      body: { reason: 'x' },
    })
    await stack.api.call('grantExtend', {
      params: { id: grants.get(longer)!.id },
      body: { byMs: hourMs, reason: 'x' },
    })
    // The proxy cannot know: what it holds still counts, also for one that opens now.
    sessions.set(late, await hold('long-db', late))
    for (const session of sessions.values()) expect(await isAlive(session)).toBe(true)
    await sessions.get(late)!.client.query("select 'said in the outage'")

    relay.mend()
    expect(await ending(sessions.get(byGrant)!)).toMatch(revoked)
    expect(await ending(sessions.get(late)!)).toMatch(revoked)
    expect(await ending(sessions.get(fired)!)).toMatch(/your access was revoked/)
    expect(await ending(sessions.get(lost)!)).toMatch(/your certificate was revoked/)
    expect(await ending(sessions.get(byAdmin)!)).toMatch(/an admin ended this session/)
    for (const person of [byGrant, late]) {
      expect((await ask('long-db', 'select 1', person)).errors).toMatch(notGranted)
    }
    for (const person of [fired, lost]) {
      expect((await ask('long-db', 'select 1', person)).code).not.toBe(0)
    }
    await wait(Math.max(0, grants.get(longer)!.expiresAtMs + 300 - Date.now()))
    for (const person of [longer, other]) expect(await isAlive(sessions.get(person)!)).toBe(true)
    expect(await ask('long-db', 'select 1', byAdmin)).toMatchObject(opened)

    // The audit of the outage arrives with it, and says under whose word the session opened.
    const mine = await eventually(
      async () =>
        (await stack.api.call('sessions', { query: { state: 'all', limit: 100 } })).items.filter(
          (session) => session.personId === late.id,
        ),
      (found) => found[0]?.state === 'closed',
    )
    expect(mine).toHaveLength(1)
    expect(mine[0]).toMatchObject({ admittedBy: 'lease', cut: { reason: 'grant-revoked' } })
    const said = await eventually(
      () => stack.api.call('auditSearch', { query: { text: 'said in the outage', limit: 10 } }),
      (page) => page.items.length > 0,
    )
    expect(said.items.map(({ sessionId }) => sessionId)).toEqual([mine[0]!.id])
    await revokeAll()
  })

  test('a proxy that is killed meanwhile works under its lease, and honours what it knew', async () => {
    const [known, later] = [await stack.person('known'), await stack.person('later')]
    await grant('long-db')
    await grant('keep-db')
    const laterGrant = await grant('long-db', hourMs, later)
    const knownGrant = await grant('long-db', hourMs, known)
    expect(await ask('long-db', 'select 1', known)).toMatchObject(opened)
    await revoke(knownGrant.id)
    await eventually(
      () => ask('long-db', 'select 1', known),
      ({ errors }) => notGranted.test(errors),
    )
    const session = await hold('long-db')

    relay.cut()
    const cutAtMs = performance.now()
    process.kill(stack.pid('proxy'), 'SIGKILL')
    await ending(session)
    // It comes up with no word from control.
    await eventually(
      () => ask('long-db'),
      ({ code }) => code === 0,
    )
    expect((await ask('long-db', 'select 1', known)).errors).toMatch(notGranted)
    expect(await ask('long-db', 'select 1', later)).toMatchObject(opened)
    await wait(Math.max(0, cutAtMs + keepMs - performance.now()))
    expect((await ask('keep-db')).errors).toMatch(unreachable)
    await revoke(laterGrant.id)
    const doomed = await hold('long-db', later)
    // And once more, so that what was read from disk is on disk again.
    process.kill(stack.pid('proxy'), 'SIGKILL')
    await ending(doomed)
    await eventually(
      () => ask('long-db'),
      ({ code }) => code === 0,
    )
    expect((await ask('long-db', 'select 1', known)).errors).toMatch(notGranted)
    const again = await hold('long-db', later)

    relay.mend()
    expect(await ending(again)).toMatch(revoked)
    expect((await ask('long-db', 'select 1', known)).errors).toMatch(notGranted)
    await eventually(
      () => ask('keep-db'),
      ({ code }) => code === 0,
    )
    await revokeAll()
  })
})

describe('the link is silent', () => {
  test('is an outage as well, though nothing says so', async () => {
    const made = await grant('long-db')
    await grant('cut-db')
    const session = await hold('long-db')
    const strict = await hold('cut-db')
    relay.silence()
    // Asked, and not answered: after `confirmMs` the lease decides.
    expect(await ask('long-db')).toMatchObject(opened)
    await revoke(made.id)
    expect(await ending(strict)).toMatch(unreachable)
    expect(await isAlive(session)).toBe(true)
    relay.mend()
    expect(await ending(session)).toMatch(revoked)
    expect((await ask('long-db')).errors).toMatch(notGranted)
    await revokeAll()
  })
})

describe('control itself is gone', () => {
  test('stopped and started, it comes back to a proxy that went on', async () => {
    const made = await grant('long-db')
    const session = await hold('long-db')
    await stack.stopProcess('control')
    expect(await isAlive(session)).toBe(true)
    expect(await ask('long-db')).toMatchObject(opened)
    await stack.startProcess('control')
    await revoke(made.id)
    expect(await ending(session)).toMatch(revoked)
  })
})

async function revokeAll(): Promise<void> {
  const { items } = await stack.api.call('grants', { query: { state: 'live', limit: 100 } })
  for (const { id } of items) await revoke(id)
}
