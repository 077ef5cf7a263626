/** The late commit, two replicas, and the doorbell with the poll behind it. */
import { join } from 'node:path'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { FeedEvent } from '../../control/api/feed.ts'
import { createLog } from '../../control/create-log.ts'
import { appendFeed, feedChannel } from '../../control/feed/append-feed.ts'
import { openFeedHub, type FeedHub } from '../../control/feed/feed-hub.ts'
import { readFeed, readFeedBounds, type FeedRow } from '../../control/feed/read-feed.ts'
import { openRealm } from '../../control/keys/open-realm.ts'
import { openStores, type Store, type Stores } from '../../control/store/store.ts'
import { revokeGrant } from '../../control/grants/revoke-grant.ts'
import { makeGrant } from '../../control/grants/make-grant.ts'
import { sleep, systemClock } from '../../protocols/kit/clock.ts'
import { seedStores } from '../seed-stores.ts'
import { follow } from './feed-client.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { resourceNamed, startTestControl } from './running-control.ts'

const realm = 'default'
const clock = systemClock
const log = createLog('silent')
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

const event = (): FeedEvent => ({ kind: 'person-revoked', personId: randomUUID(), orderedAtMs: 1 })
const append = (store: Store, one = event()) =>
  store.transaction((sql) => appendFeed(sql, realm, [{ group: null, event: one }], 1))

async function openRealmAt(databaseUrl: string): Promise<Stores> {
  const stores = await openStores({ databaseUrl })
  await openRealm(stores.state, { realm, demo: false, domain: 'x.test', clock })
  return stores
}

describe('positions are in commit order', () => {
  let stores: Stores
  let second: Stores
  beforeAll(async () => {
    const url = await server.createDatabase()
    stores = await openRealmAt(url)
    second = await openStores({ databaseUrl: url })
  })
  afterAll(async () => {
    await stores.close()
    await second.close()
  })

  test('a transaction that started first and commits last has the later position', async () => {
    const { position: start } = await readFeedBounds(stores.state, realm)
    let early = 0
    const late = await stores.state.transaction(async (slow) => {
      // It has begun, and has even changed something, long before the other.
      await slow.query('select pg_current_xact_id()')
      early = await append(second.state)
      return appendFeed(slow, realm, [{ group: null, event: event() }], 1)
    })
    expect([early, late]).toEqual([start + 1, start + 2])
  })

  test('who took a position first commits first: no reader passes one that is still open', async () => {
    const { position: start } = await readFeedBounds(stores.state, realm)
    let secondDone = false
    let other: Promise<number> | undefined
    const seen: number[][] = []
    await stores.state.transaction(async (slow) => {
      await appendFeed(slow, realm, [{ group: null, event: event() }], 1)
      other = append(second.state).finally(() => (secondDone = true))
      for (let look = 0; look < 10; look += 1) {
        await sleep(clock, 30)
        seen.push((await readFeed(second.state, realm, start, 100)).map((row) => row.position))
      }
      // The second waits for the first, so nobody ever sees its position alone.
      expect(secondDone).toBe(false)
    })
    expect(await other).toBe(start + 2)
    expect(seen.flat()).toEqual([])
    const rows = await readFeed(stores.state, realm, start, 100)
    expect(rows.map((row) => row.position)).toEqual([start + 1, start + 2])
  })

  test('a transaction that rolls back leaves no gap', async () => {
    const { position: start } = await readFeedBounds(stores.state, realm)
    await expect(
      stores.state.transaction(async (sql) => {
        await appendFeed(sql, realm, [{ group: null, event: event() }], 1)
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(await append(second.state)).toBe(start + 1)
  })

  test('readers that poll while two replicas commit as they like see every position once', async () => {
    const { position: start } = await readFeedBounds(stores.state, realm)
    const total = 300
    const cursors = [stores.state, second.state].map(async (store) => {
      const seen: number[] = []
      for (let cursor = start; seen.length < total;) {
        const rows = await readFeed(store, realm, cursor, 7)
        seen.push(...rows.map((row) => row.position))
        cursor = rows.at(-1)?.position ?? cursor
      }
      return seen
    })
    // No more at a time than have a connection: who waits for one too long is refused.
    const atOnce = 6
    const write = async (store: Store): Promise<void> => {
      for (let count = 0; count < total / 2 / atOnce; count += 1) {
        await store.transaction(async (sql) => {
          await sql.query('select pg_sleep($1)', [Math.random() / 100])
          await appendFeed(sql, realm, [{ group: null, event: event() }], 1)
          await sql.query('select pg_sleep($1)', [Math.random() / 200])
        })
      }
    }
    await Promise.all(
      [stores.state, second.state].flatMap((store) =>
        Array.from({ length: atOnce }, () => write(store)),
      ),
    )
    const expected = Array.from({ length: total }, (_, index) => start + 1 + index)
    for (const seen of await Promise.all(cursors)) expect(seen).toEqual(expected)
  })
})

describe.each(['embedded', 'postgres'] as const)('the hub over the %s store', (engine) => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-hub-'))
  let stores: Stores
  let hub: FeedHub | undefined
  beforeAll(async () => {
    if (engine === 'embedded') await seedStores(directory)
    stores =
      engine === 'embedded'
        ? await openStores({ dataDir: directory })
        : await openStores({ databaseUrl: await server.createDatabase() })
    await openRealm(stores.state, { realm, demo: false, domain: 'x.test', clock })
  })
  afterEach(() => hub?.close())
  afterAll(async () => {
    await stores.close()
    rmSync(directory, { recursive: true, force: true })
  })

  const collect = (from: FeedHub) => {
    const rows: FeedRow[] = []
    const state = { beats: 0, lost: 0 }
    from.follow({
      rows: (more) => rows.push(...more),
      complete: () => (state.beats += 1),
      lost: () => (state.lost += 1),
    })
    return { rows, state }
  }

  test('the doorbell alone is enough', async () => {
    hub = await openFeedHub({ realm, state: stores.state, clock, log, pollMs: 3_600_000 })
    const { rows } = collect(hub)
    await sleep(clock, 100)
    const position = await append(stores.state)
    await expect.poll(() => rows.at(-1)?.position).toBe(position)
  })

  test('the poll alone is enough', async () => {
    const deaf: Store = { ...stores.state, listen: async () => async () => {} }
    hub = await openFeedHub({ realm, state: deaf, clock, log, pollMs: 100 })
    const { rows, state } = collect(hub)
    const position = await append(stores.state)
    await expect.poll(() => rows.at(-1)?.position).toBe(position)
    await expect.poll(() => state.beats).toBeGreaterThan(2)
  })

  test('the doorbell rings for rows of the feed, and says nothing', async () => {
    let rings = 0
    const stop = await stores.state.listen(feedChannel, () => (rings += 1))
    await sleep(clock, 50)
    const before = rings
    await stores.state.query(`update realms set demo = demo where realm = $1`, [realm])
    await sleep(clock, 100)
    expect(rings).toBe(before)
    await append(stores.state)
    await expect.poll(() => rings).toBeGreaterThan(before)
    await stop()
  })

  test('a follower that fails is let go, and keeps nothing from the others', async () => {
    hub = await openFeedHub({ realm, state: stores.state, clock, log, pollMs: 100 })
    let lost = 0
    hub.follow({
      rows() {
        throw new Error('no')
      },
      complete() {},
      lost: () => (lost += 1),
    })
    const { rows, state } = collect(hub)
    const first = await append(stores.state)
    await expect.poll(() => rows.at(-1)?.position).toBe(first)
    const second = await append(stores.state)
    await expect.poll(() => rows.at(-1)?.position).toBe(second)
    expect(rows.map(({ position }) => position)).toEqual([first, second])
    expect([lost, state.lost]).toEqual([1, 0])
  })

  test('after an outage, a feed that went back in time is noticed', async () => {
    let broken = false
    const flaky: Store = {
      ...stores.state,
      query: (text, parameters) =>
        broken ? Promise.reject(new Error('away')) : stores.state.query(text, parameters),
    }
    await append(stores.state)
    hub = await openFeedHub({ realm, state: flaky, clock, log, pollMs: 50 })
    const { state } = collect(hub)
    const { position } = hub
    broken = true
    await sleep(clock, 200)
    const beats = state.beats
    await sleep(clock, 200)
    expect(state.beats).toBe(beats)
    // The database comes back from a backup.
    await stores.state.query('delete from feed where position = $1', [position])
    await stores.state.query('update feed_heads set position = position - 1')
    broken = false
    await expect.poll(() => state.lost).toBe(1)
    expect(hub.position).toBe(position - 1)
  })
})

test('two replicas, one proxy, hundreds of concurrent commits: no revocation is missed', async () => {
  const databaseUrl = await server.createDatabase()
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-replicas-'))
  const sealingKeyFile = join(directory, 'sealing.key')
  const one = await startTestControl({ databaseUrl, sealingKeyFile })
  const two = await startTestControl({ databaseUrl, sealingKeyFile })
  const closing: (() => void)[] = []
  try {
    // The same keys: what one signed, the other's callers trust.
    expect(two.running.control.keys.signers.grants.kid).toBe(
      one.running.control.keys.signers.grants.kid,
    )
    await one.addPerson('dev@example.test', ['engineer'])
    await one.admin.call('resourcesApply', {
      body: { file: { resources: [resourceNamed('orders-db')] } },
    })
    const proxy = await one.addProxy()
    const targets = [one, two].map((site) => ({
      url: site.running.url,
      authorityPem: site.running.control.keys.authorities.control.certificatePem,
    }))
    const actor = { id: randomUUID(), email: 'admin@example.test', remoteAddress: '' }
    const revoked = new Set<string>()
    const seen = new Set<string>()
    let cursor = 0
    const state = { writing: true }

    // A proxy that changes its replica all the time, with the cursor that it has.
    const reading = (async () => {
      for (let turn = 0; state.writing || seen.size < revoked.size; turn += 1) {
        const client = await follow(targets[turn % 2]!, proxy, cursor)
        closing.push(() => client.close())
        await sleep(clock, 150)
        client.close()
        for (const each of client.events()) {
          if (each.kind === 'grant-revoked') seen.add(each.grantId)
        }
        cursor = Math.max(cursor, client.position())
        if (turn > 400) break
      }
    })()
    // Two commits each.
    const rounds = process.env['SALLYPORT_LONG'] === '1' ? 500 : 200
    await Promise.all(
      [one, two].map(async ({ running: { control } }) => {
        let left = rounds / 2
        const worker = async (): Promise<void> => {
          while (left > 0) {
            left -= 1
            const grant = await makeGrant(control, actor, {
              person: 'dev@example.test',
              resource: 'orders-db',
              level: 'read',
              forMs: 3_600_000,
              reason: 'x',
            })
            await revokeGrant(control, actor, grant.id, 'over')
            revoked.add(grant.id)
          }
        }
        await Promise.all(Array.from({ length: 6 }, worker))
      }),
    )
    state.writing = false
    await reading
    expect(revoked.size).toBe(rounds)
    expect([...revoked].filter((id) => !seen.has(id))).toEqual([])
  } finally {
    for (const close of closing) close()
    await one.close()
    await two.close()
    rmSync(directory, { recursive: true, force: true })
  }
})
