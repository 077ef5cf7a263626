import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { migrate } from '../../control/store/migrate.ts'
import { QueryError } from '../../control/store/query-error.ts'
import { openStores, type StoreOptions, type Stores } from '../../control/store/store.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { sleep, systemClock } from '../../protocols/kit/clock.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

const directory = mkdtempSync(join(tmpdir(), 'sallyport-store-'))
let server: PostgresServer

beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(async () => {
  await server.stop()
  rmSync(directory, { recursive: true, force: true })
})

describe.each(['embedded', 'postgres'] as const)('%s store', (engine) => {
  let options: StoreOptions
  let stores: Stores

  beforeAll(async () => {
    options =
      engine === 'embedded'
        ? { dataDir: join(directory, 'data') }
        : { databaseUrl: await server.createDatabase() }
    stores = await openStores(options)
    await stores.state.query(
      'create table trial (id bigint primary key, bytes bytea, json jsonb, words text[], longs bigint[])',
    )
  })
  afterAll(() => stores.close())

  test('columns come back as numbers, Buffers and parsed JSON', async () => {
    const values = [2 ** 53 - 1, Buffer.from([0, 255, 1]), '{"a":[1]}', ['x', 'y,"'], [1, 2 ** 40]]
    await stores.state.query('insert into trial values ($1, $2, $3, $4, $5)', values)
    const rows = await stores.state.query<Record<string, unknown>>(
      'select *, count(*) over () as n, null::bytea as none from trial',
    )
    expect(rows).toEqual([
      {
        id: 2 ** 53 - 1,
        bytes: Buffer.from([0, 255, 1]),
        json: { a: [1] },
        words: ['x', 'y,"'],
        longs: [1, 2 ** 40],
        n: 1,
        none: null,
      },
    ])
    expect(Buffer.isBuffer(rows[0]!['bytes'])).toBe(true)
    const [unnested] = await stores.state.query<{ list: Buffer[] }>(
      'select array_agg(b) as list from unnest($1::bytea[]) as b',
      [[Buffer.from('a'), Buffer.from('b')]],
    )
    expect(unnested!.list).toHaveLength(2)
    await stores.state.query('truncate trial')
  })

  test('long bytes go in beside lists and documents too', async () => {
    const bytes = Buffer.alloc(10_000, 7)
    const text = 'insert into trial (id, bytes, json, words, longs) values ($1, $2, $3, $4, $5)'
    await stores.state.query(text, [1, bytes, { a: [1] }, ['x', 'y,"'], [1, 2 ** 40]])
    await stores.state.query(text, [2, bytes, '{"a":[1]}', null, null])
    expect(await stores.state.query('select bytes, json, words from trial order by id')).toEqual([
      { bytes, json: { a: [1] }, words: ['x', 'y,"'] },
      { bytes, json: { a: [1] }, words: null },
    ])
    await stores.state.query('truncate trial')
  })

  test('an integer above 2^53 - 1 is an error, not a wrong number', async () => {
    await expect(stores.state.query('select 9007199254740993::bigint as n')).rejects.toThrow()
    expect(await stores.state.query('select 1 as n')).toEqual([{ n: 1 }])
  })

  test('the database’s refusals carry SQLSTATE and constraint', async () => {
    await stores.state.query('insert into trial (id) values (1)')
    const refused = stores.state.query('insert into trial (id) values (1)')
    await expect(refused).rejects.toBeInstanceOf(QueryError)
    await expect(refused).rejects.toMatchObject({ sqlState: '23505', constraint: 'trial_pkey' })
    await stores.state.query('truncate trial')
  })

  test('a transaction commits, rolls back, and keeps others out until it ends', async () => {
    const failed = stores.state.transaction(async (sql) => {
      await sql.query('insert into trial (id) values (7)')
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    let seenInside = -1
    await stores.state.transaction(async (sql) => {
      await sql.query('insert into trial (id) values (8)')
      seenInside = (await sql.query<{ n: number }>('select count(*) as n from trial'))[0]!.n
    })
    const outside = stores.state.query<{ n: number }>('select count(*) as n from trial')
    expect(seenInside).toBe(1)
    expect(await outside).toEqual([{ n: 1 }])
    await stores.state.query('truncate trial')
  })

  test('a failed statement inside a transaction undoes all of it', async () => {
    const failed = stores.state.transaction(async (sql) => {
      await sql.query('insert into trial (id) values (1)')
      await sql.query('select no_such_column')
    })
    await expect(failed).rejects.toMatchObject({ sqlState: '42703' })
    expect(await stores.state.query('select * from trial')).toEqual([])
  })

  test('fifty transactions at once lose no increment', async () => {
    await stores.state.query('insert into trial (id) values (1), (1000)')
    await stores.state.query('create table counter (n bigint); insert into counter values (0)')
    await Promise.all(
      Array.from({ length: 50 }, () =>
        stores.state.transaction(async (sql) => {
          const [row] = await sql.query<{ n: number }>('select n from counter for update')
          await sql.query('update counter set n = $1', [row!.n + 1])
        }),
      ),
    )
    expect(await stores.state.query('select n from counter')).toEqual([{ n: 50 }])
    await stores.state.query('truncate trial')
  })

  test('a statement around its own transaction, or after it, is a mistake that shows', async () => {
    await expect(
      stores.state.transaction(async () => stores.state.query('select 1')),
    ).rejects.toThrow('inside of a transaction')
    let kept: { query(text: string): Promise<unknown> } | undefined
    await stores.state.transaction(async (sql) => {
      kept = sql
    })
    await expect(kept!.query('select 1')).rejects.toThrow('after its transaction had ended')
    // The other store has its own connection.
    await stores.state.transaction(async () => stores.audit.query('select 1'))
  })

  test('a notification rings at commit, not before, and not after stop', async () => {
    let rings = 0
    const stop = await stores.state.listen('bell', () => (rings += 1))
    const before = rings
    await stores.state.transaction(async (sql) => {
      await sql.query('notify bell')
      await sleep(systemClock, 50)
      expect(rings).toBe(before)
    })
    await expect.poll(() => rings).toBeGreaterThan(before)
    await stop()
    const after = rings
    await stores.state.query('notify bell')
    await sleep(systemClock, 50)
    expect(rings).toBe(after)
  })

  test('the two schemas do not see each other’s tables', async () => {
    await expect(stores.audit.query('select * from trial')).rejects.toMatchObject({
      sqlState: '42P01',
    })
  })

  test('migrations are applied once; a changed or unknown one is refused', async () => {
    await migrate(stores.state, 'state')
    await expect(
      migrate(stores.state, 'state', [{ name: '0001-start.sql', text: 'select 1' }]),
    ).rejects.toMatchObject({ code: 'config-invalid', message: expect.stringContaining('changed') })
    await expect(migrate(stores.state, 'state', [])).rejects.toMatchObject({
      code: 'config-invalid',
    })
  })

  test('what was committed is there after a new start', async () => {
    await stores.state.query('insert into trial (id) values (42)')
    await stores.close()
    stores = await openStores(options)
    expect(await stores.state.query('select id from trial')).toEqual([{ id: 42 }])
    await stores.probe()
  })

  if (engine === 'embedded') {
    test('a data directory belongs to one process', async () => {
      const second = openStores(options)
      await expect(second).rejects.toBeInstanceOf(SallyportError)
      await expect(second).rejects.toMatchObject({ code: 'config-invalid' })
    })

    test('commits are synced to the disk', async () => {
      expect(
        await stores.state.query(
          `select name, setting from pg_settings where name in
           ('fsync', 'synchronous_commit', 'wal_sync_method') order by name`,
        ),
      ).toEqual([
        { name: 'fsync', setting: 'on' },
        { name: 'synchronous_commit', setting: 'on' },
        { name: 'wal_sync_method', setting: 'fsync' },
      ])
    })
  } else {
    test('an unreachable server is store-unavailable', async () => {
      await expect(
        openStores({ databaseUrl: 'postgres://nobody:x@127.0.0.1:1/none' }),
      ).rejects.toMatchObject({ code: 'store-unavailable' })
    })

    test('listening goes on after the server ended the connection, and rings', async () => {
      let rings = 0
      const stop = await stores.state.listen('other', () => (rings += 1))
      const before = rings
      await stores.state.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen "other"'`,
      )
      await expect.poll(() => rings).toBeGreaterThan(before)
      const reconnected = rings
      await stores.state.query('notify other')
      await expect.poll(() => rings).toBeGreaterThan(reconnected)
      await stop()
    })
  }
})
