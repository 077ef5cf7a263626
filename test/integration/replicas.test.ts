/**
 * Two replicas of control on one PostgreSQL and one proxy, all of them processes: hundreds of revocations through both at once, with
 * sessions that live under some of the grants, while a replica is killed and the proxy changes from one to the other.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiClient } from '../../control/api/client.ts'
import type { FeedEvent } from '../../control/api/feed.ts'
import { openApi } from '../../control/cli/with-api.ts'
import { appendFeed } from '../../control/feed/append-feed.ts'
import { trimFeed } from '../../control/feed/trim-feed.ts'
import { markRevoked, revocationOf } from '../../control/grants/revoke-grant.ts'
import { openStores, type Stores } from '../../control/store/store.ts'
import { freePort } from '../../deploy/ports.ts'
import { controlProgram } from '../../deploy/programs.ts'
import { createSupervisor, type Supervisor } from '../../deploy/supervisor.ts'
import { systemClock as clock } from '../../protocols/kit/clock.ts'
import { eventually } from '../demo-site.ts'
import { startRelay, type Relay } from '../fakes/relay.ts'
import { psql, stackDatabase, stackDomain, stackResource, startStack } from '../stack.ts'
import type { Stack, StackPerson } from '../stack.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

const realm = 'default'
const peopleCount = 20
/** A thousand in all in long runs. */
const grantsPerPerson = process.env['SALLYPORT_LONG'] === '1' ? 50 : 15
const grantsMany = peopleCount * grantsPerPerson
/** Clients of each replica, with several connections each: more is asked at once than its store has connections. */
const clientsPerReplica = 4
const revoked = /was revoked/

let directory: string
let database: PostgresServer
let stack: Stack
let relay: Relay
let secondSupervisor: Supervisor
/** Straight to control's store, for what no replica does by itself. */
let stores: Stores
/** Those of the first replica, then those of the second. */
const apis: [ApiClient[], ApiClient[]] = [[], []]
const held: Held[] = []

interface Held {
  readonly client: Client
  /** Undefined while the session lives. */
  ended: string | undefined
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-replicas-'))
  database = await startPostgresServer()
  const environment = {
    DATABASE_URL: await database.createDatabase(),
    SALLYPORT_SEALING_KEY_FILE: join(directory, 'sealing.key'),
  }
  const secondPort = await freePort()
  secondSupervisor = createSupervisor({ clock, announce: () => undefined })
  stack = await startStack({
    environment,
    between: async (firstPort) => {
      relay = await startRelay(firstPort, secondPort)
      return relay.port
    },
  })
  await secondSupervisor.start(
    controlProgram({
      dataDirectory: join(directory, 'second'),
      logFile: join(stack.directory, 'logs', 'control-second.log'),
      flags: [
        ...['--listen', `127.0.0.1:${secondPort}`, '--metrics-listen', '127.0.0.1:0'],
        ...['--domain', stackDomain],
      ],
      environment: { ...process.env, ...environment },
      stopMs: 15_000,
    }),
  )
  const home = stack.site.adminHome
  const urls = [home.config.controlUrl, `https://127.0.0.1:${secondPort}`] as const
  for (const replica of [0, 1] as const) {
    const there = { ...home, config: { ...home.config, controlUrl: urls[replica] } }
    apis[replica] = Array.from({ length: clientsPerReplica }, () => openApi(there))
  }
  stores = await openStores({ databaseUrl: environment.DATABASE_URL })
})
afterAll(async () => {
  for (const { client } of held) await client.end().catch(() => undefined)
  for (const api of apis.flat()) api.close()
  relay?.close()
  await stores?.close()
  await secondSupervisor?.stop()
  await stack?.stop()
  await database?.stop()
  rmSync(directory, { recursive: true, force: true })
})

/** Runs all of the work, in turns through every client of both replicas, each with several at a time. */
async function throughBoth<T>(
  items: readonly T[],
  run: (api: ApiClient, item: T) => Promise<unknown>,
): Promise<void> {
  const left = [...items]
  const worker = async (api: ApiClient): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await run(api, item)
  }
  const clients = apis.flat().flatMap((api) => Array.from({ length: 8 }, () => api))
  await Promise.all(clients.map(worker))
}

/** An admin who tries again, elsewhere, until they have an answer. */
async function revoke(api: ApiClient, id: string): Promise<void> {
  const order = [api, ...apis.flat()]
  await eventually(
    () =>
      order
        .shift()!
        .call('grantRevoke', { params: { id }, body: { reason: 'over' } })
        .then(
          () => true,
          () => {
            order.push(api)
            return false
          },
        ),
    (done) => done,
    60_000,
  )
}

const make = async (api: ApiClient, { email }: StackPerson): Promise<string> => {
  const ask = { person: email, resource: stackResource, level: 'read', reason: 'x' } as const
  return (await api.call('grantMake', { body: { ...ask, forMs: 3_600_000 } })).id
}

async function hold(person: StackPerson): Promise<Held> {
  const client = new Client({
    host: '127.0.0.1',
    port: stack.proxyPort,
    user: `~${stackResource}`,
    database: stackDatabase,
    ssl: {
      servername: `${stackResource}.${stackDomain}`,
      ca: readFileSync(stack.caFile),
      cert: person.certificatePem,
      key: person.keyPem,
    },
  })
  const session: Held = { client, ended: undefined }
  client.on('error', (error) => (session.ended ??= error.message))
  await client.connect()
  held.push(session)
  return session
}
const isAlive = async ({ client }: Held): Promise<boolean> =>
  (await client.query('select 1')).rowCount === 1
const isCut = (session: Held) =>
  eventually(
    () => session.ended,
    (ended) => ended !== undefined,
  ).then((ended) => expect(ended).toMatch(revoked))

/** The grants of which the proxy's disk says that their first revision counts no more. */
function floorsOnDisk(): Set<string> {
  const found = new Set<string>()
  const journal = readFileSync(join(stack.site.paths.proxy, 'state', 'journal'), 'utf8')
  for (const line of journal.split('\n').slice(0, -1)) {
    const entry = JSON.parse(line.slice(17)) as {
      events?: FeedEvent[]
      floors?: { grantId: string; revision: number }[]
    }
    for (const floor of entry.floors ?? []) if (floor.revision > 1) found.add(floor.grantId)
    for (const event of entry.events ?? []) {
      if (event.kind === 'grant-revoked' && event.revision > 1) found.add(event.grantId)
    }
  }
  return found
}

test(`${grantsMany} revocations through both: none is missed, whoever dies`, async () => {
  const names = Array.from({ length: peopleCount }, (_, index) => `p${index}`)
  const people = await Promise.all(names.map((name) => stack.person(name)))
  const keeper = await stack.person('keeper')
  await make(apis[1][0]!, keeper)
  const kept = await hold(keeper)

  const grants: string[] = []
  const sessions: Held[] = []
  const makeAll = (each: number) =>
    throughBoth(Array.from({ length: each }, () => people).flat(), async (api, person) =>
      grants.push(await make(api, person)),
    )
  // Sessions under each person's first grant, and under their last.
  await makeAll(1)
  for (const person of people) sessions.push(await hold(person))
  await makeAll(grantsPerPerson - 1)
  for (const person of people) sessions.push(await hold(person))
  expect(new Set(grants).size).toBe(grantsMany)
  expect(sessions.filter(({ ended }) => ended !== undefined)).toEqual([])

  let done = 0
  const order = grants.toSorted()
  const killedAt = stack.pid('control')
  await throughBoth(order, async (api, id) => {
    await revoke(api, id)
    done += 1
    if (done === Math.round(grantsMany * 0.3)) process.kill(killedAt, 'SIGKILL')
    if (done === Math.round(grantsMany * 0.7)) {
      // The proxy was with the second one; it prefers it no more.
      relay.targets = relay.targets.toReversed()
      relay.drop()
    }
  })
  expect(done).toBe(grants.length)
  await Promise.all(sessions.map(isCut))
  const missed = await eventually(
    () => {
      const floors = floorsOnDisk()
      return grants.filter((id) => !floors.has(id))
    },
    (missing) => missing.length === 0,
  )
  expect(missed).toEqual([])
  for (const person of people.slice(0, 3)) {
    const { errors } = await psql(person.psqlEnvironment(), 'select 1')
    expect(errors).toMatch(/is not granted/)
  }
  expect(kept.ended).toBeUndefined()
  expect(await isAlive(kept)).toBe(true)
  expect(stack.pid('control')).not.toBe(killedAt)
})

test('a revocation that commits late is not passed by those behind it, and holds up no session', async () => {
  const people = await Promise.all(['late', 'behind', 'new'].map((name) => stack.person(name)))
  const [late, behind, fresh] = people as [StackPerson, StackPerson, StackPerson]
  const lateGrant = await make(apis[0][0]!, late)
  const freshGrant = await make(apis[0][0]!, fresh)
  const grants: string[] = []
  await throughBoth(
    Array.from({ length: 40 }, () => behind),
    async (api, person) => grants.push(await make(api, person)),
  )
  expect(grants).toHaveLength(40)
  const sessions = [await hold(late), await hold(behind)]
  let committed = false
  let before = 0
  const slow = stores.state.transaction(async (sql) => {
    const how = { atMs: Math.floor(clock.wallMs()), by: 'x', reason: 'late' }
    const [row] = await markRevoked(sql, realm, [lateGrant], how)
    await appendFeed(sql, realm, [revocationOf(row!)], how.atMs)
    await wait(4_000)
    committed = true
  })
  await wait(300)
  const others = throughBoth(grants, async (api, id) => {
    await revoke(api, id)
    if (!committed) before += 1
  })
  await wait(500)
  // More writers wait now than a store has connections; whoever asks whether a session may open waits for none of them.
  expect(await psql(fresh.psqlEnvironment(), 'select 1')).toMatchObject({ code: 0 })
  expect(committed).toBe(false)
  await Promise.all([slow, others])
  expect(before).toBe(0)
  await Promise.all(sessions.map(isCut))
  const floors = await eventually(floorsOnDisk, (found) =>
    [lateGrant, ...grants].every((id) => found.has(id)),
  )
  expect(floors.has(lateGrant)).toBe(true)
  const { items } = await eventually(
    () => apis[0][0]!.call('sessions', { query: { grant: freshGrant, state: 'all', limit: 10 } }),
    (page) => page.items.length > 0,
  )
  expect(items.map(({ admittedBy }) => admittedBy)).toEqual(['control'])
})

test('a proxy that was away for longer than the feed is kept takes the whole, and misses nothing', async () => {
  const gone = await stack.person('gone')
  const stays = await stack.person('stays')
  const [goneGrant] = [await make(apis[0][0]!, gone), await make(apis[1][0]!, stays)]
  const [cut, kept] = [await hold(gone), await hold(stays)]
  relay.cut()
  await revoke(apis[1][0]!, goneGrant)
  expect(await trimFeed(stores.state, realm, clock.wallMs() + 1_000)).toBeGreaterThan(0)
  expect(await isAlive(cut)).toBe(true)
  relay.mend()
  await isCut(cut)
  expect(await isAlive(kept)).toBe(true)
  expect((await psql(gone.psqlEnvironment(), 'select 1')).errors).toMatch(/is not granted/)
  expect(floorsOnDisk().has(goneGrant)).toBe(true)
})
