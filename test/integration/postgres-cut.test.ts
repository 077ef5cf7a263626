/** Ends of sessions: what the client reads, what stays at the server, what the audit says. */
import { once } from 'node:events'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startFakePostgres } from '../fakes/postgres-upstream.ts'
import {
  account,
  eventually,
  startRealPostgres,
  startSite,
  type RealPostgres,
  type Site,
} from '../fakes/postgres-site.ts'

let real: RealPostgres
let site: Site

beforeAll(async () => {
  real = await startRealPostgres()
})
afterAll(async () => {
  await real?.stop()
})
beforeEach(async () => {
  site = await startSite(real)
  return async () => {
    await eventually(() => site.server.serving === 0)
    expect(site.server.crashes).toEqual([])
    for (const record of site.gate.records) expect(record.outcomes).toHaveLength(1)
    await eventually(async () => (await backends()) === 0)
    await site.close()
  }
})

async function backends(state = ''): Promise<number> {
  const rows = await real.query(
    `select count(*)::int as n from pg_stat_activity where usename = '${account}' ${state}`,
  )
  return rows[0]!['n'] as number
}
const active = () => backends(`and state = 'active'`)

function startPsql(at: Site, ...args: string[]) {
  const child = at.start('psql', ['-X', '-At', ...args])
  const said = { text: '' }
  child.stdout!.on('data', (chunk: Buffer) => (said.text += chunk.toString()))
  child.stderr!.on('data', (chunk: Buffer) => (said.text += chunk.toString()))
  return { child, said, closed: once(child, 'close') }
}

describe('a cut', () => {
  test.each([
    ['in pg_sleep', 'select pg_sleep(300)'],
    ['in the first of two', 'select pg_sleep(300); select pg_sleep(300)'],
  ])('%s: the client reads why, no backend stays', async (_name, statement) => {
    const { said, closed } = startPsql(site, '-c', statement)
    await eventually(async () => (await active()) === 1)
    const startedMs = performance.now()
    site.gate.sessions[0]!.cut('grant-expired', 'your grant has ended', 'ask for another')
    await closed
    // Long before the statement would have ended.
    expect(performance.now() - startedMs).toBeLessThan(60_000)
    expect(said.text).toContain('FATAL:  your grant has ended')
    expect(said.text).toContain('HINT:  ask for another')
    await eventually(async () => (await backends()) === 0)
    await eventually(() => site.server.serving === 0)
    expect(site.gate.records[0]!.outcomes[0]!.status).toMatch(/cancelled|unknown/)
  })

  test('of an idle session', async () => {
    const client = site.client()
    const errors: Error[] = []
    client.on('error', (error) => errors.push(error))
    await client.connect()
    await client.query('select 1')
    site.gate.sessions[0]!.cut()
    await eventually(() => errors.length > 0)
    expect(errors[0]).toMatchObject({ code: '57P01', message: 'your grant has ended' })
  })

  test('amid rows that stream: still between two messages', async () => {
    const { said, closed } = startPsql(
      site,
      ...['-v', 'FETCH_COUNT=0', '-o', '/dev/null'],
      ...[
        '-c',
        `copy (select repeat('x', 100) from (select generate_series(1, 100000000)) s) to stdout`,
      ],
    )
    await eventually(() => (site.gate.sessions[0]?.downstreamBytes ?? 0) > 5_000_000)
    site.gate.sessions[0]!.cut()
    await closed
    expect(said.text).toContain('your grant has ended')
  })

  test('of a pipeline of sleeps: none of them stays', async () => {
    const client = site.client({ pipeline: true })
    client.on('error', () => {})
    await client.connect()
    const sleeping = Array.from({ length: 3 }, () => client.query('select pg_sleep(300)'))
    const ends = Promise.allSettled(sleeping)
    await eventually(async () => (await active()) === 1)
    await eventually(() => site.gate.records.length === 3)
    site.gate.sessions[0]!.cut()
    await ends
    await eventually(async () => (await backends()) === 0)
  })

  test('of sixty sessions at once', async () => {
    const clients = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const client = site.client()
        client.on('error', () => {})
        await client.connect()
        return { client, sleeping: client.query('select pg_sleep(300)').catch((e: Error) => e) }
      }),
    )
    await eventually(async () => (await active()) === 60)
    for (const session of site.gate.sessions) session.cut()
    const ends = await Promise.all(clients.map(({ sleeping }) => sleeping))
    for (const end of ends) expect(end).toMatchObject({ code: '57P01' })
    await eventually(async () => (await backends()) === 0)
  })

  test.each([
    ['before TLS', 'verify-full', 'silent', 1],
    ['before its demand', 'disable', 'silent', 1],
    ['amid the proof of the password', 'disable', 'stops-in-login', 2],
  ] as const)('during the login, %s, refuses', async (_when, tls, behaviour, packets) => {
    // A resource that takes the connection and says no more holds the login for as long as the test needs.
    const held = await startFakePostgres()
    held.behaviour = behaviour
    const upstream = { host: '127.0.0.1', port: held.port, serverName: 'resource.internal', tls }
    const slow = await startSite(real, { gate: { upstream } })
    try {
      const { said, closed } = startPsql(slow, '-c', 'select 1')
      await eventually(() => held.packets === packets)
      const session = slow.gate.sessions[0]!
      expect(session.isOpen).toBe(false)
      session.cut()
      await closed
      expect(said.text).toContain('FATAL:  your grant has ended')
      expect(slow.gate.records).toEqual([])
      await eventually(() => slow.server.serving === 0 && held.open === 0)
      expect(slow.server.crashes).toEqual([])
    } finally {
      await slow.close()
      await held.close()
    }
  })
})

test('a warning is a NOTICE', async () => {
  const { child, said, closed } = startPsql(site, '-c', 'select pg_sleep(1)')
  await eventually(async () => (await active()) === 1)
  site.gate.sessions[0]!.notify('your grant ends in 5 minutes')
  await closed
  expect(child.exitCode).toBe(0)
  expect(said.text).toContain('NOTICE:  your grant ends in 5 minutes')
})

test('a client that is gone leaves no sleeping backend', async () => {
  const { child, closed } = startPsql(site, '-c', 'select pg_sleep(300)')
  await eventually(async () => (await active()) === 1)
  child.kill('SIGKILL')
  await closed
  await eventually(async () => (await backends()) === 0)
  await eventually(() => site.server.serving === 0)
  expect(site.gate.sessions[0]!.ended?.reason).toMatch(/client/)
})

test('a server that ends the session is passed on', async () => {
  const { said, closed } = startPsql(site, '-c', 'select pg_sleep(300)')
  await eventually(async () => (await active()) === 1)
  await real.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${account}'`,
  )
  await closed
  expect(said.text).toContain('terminating connection due to administrator command')
  await eventually(() => site.server.serving === 0)
  expect(site.gate.sessions[0]!.ended?.reason).toBe('upstream-closed')
  expect(site.gate.records[0]!.outcomes[0]).toMatchObject({ status: 'error', errorCode: '57P01' })
})

test('a failed commit is the outcome of the last statement', async () => {
  await real.query('select 1')
  const client = site.client()
  await client.connect()
  await client.query(
    'create temp table d (n int unique deferrable initially deferred, m int default $$1$$::int)',
  )
  await expect(
    client.query('insert into d (n) select 1 from generate_series(1, $1::int)', [2]),
  ).rejects.toMatchObject({ code: '23505' })
  await client.end()
  await eventually(() => site.server.serving === 0)
  const insert = site.gate.records.find(({ text }) => text.startsWith('insert'))
  expect(insert!.outcomes).toMatchObject([{ status: 'error', errorCode: '23505' }])
})
