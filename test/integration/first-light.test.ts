/** The main job, as a stranger sees it: the demo, plain psql, a grant, a cut, the audit. */
import { spawn } from 'node:child_process'
import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ActivityView, Grant, SessionView } from '../../control/api/shapes.ts'
import { eventually, run, startDemo, type DemoSite, type Who } from '../demo-site.ts'

interface Page<T> {
  items: T[]
}

let site: DemoSite

beforeAll(async () => {
  site = await startDemo()
})
afterAll(async () => {
  await site?.stop()
})

const psql = (who: Who, sql: string, conninfo = site.conninfo(who)) =>
  run('psql', ['-X', '-At', '-v', 'ON_ERROR_STOP=1', conninfo, '-c', sql])

const grant = (who: Who, level: string, duration: string): Promise<Grant> =>
  site.sallyJson<Grant>(
    'admin',
    ...['grant', `${who}@example.test`, 'orders-db'],
    ...['--level', level, '--for', duration, '--reason', 'a test'],
  )

const search = async (...parameters: string[]): Promise<ActivityView[]> =>
  (await site.sallyJson<Page<ActivityView>>('auditor', 'audit', 'search', ...parameters)).items

const sessionsOf = async (grantId: string): Promise<SessionView[]> =>
  (await site.sallyJson<Page<SessionView>>('admin', 'sessions')).items.filter(
    (session) => session.grantId === grantId,
  )

/** Backends of the shop that run this marker, seen through a session of the admin's own. */
const backendsRunning = async (marker: string): Promise<number> => {
  const seen = await psql(
    'lead',
    `select count(*) from pg_stat_activity where query like '%${marker}%' and pid <> pg_backend_pid()`,
    `${site.conninfo('lead')} user=admin~orders-db`,
  )
  expect(seen.stderr).toBe('')
  return Number(seen.stdout)
}

describe('plain psql under a grant', () => {
  test('reaches the resource by its host name', async () => {
    const { code, stdout, stderr } = await psql('dev', 'select count(*) > 1000 from orders')
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 't\n', stderr: '' })
  })

  test('has no more rights than the level', async () => {
    const { code, stderr } = await psql('dev', 'delete from orders')
    expect(code).not.toBe(0)
    expect(stderr).toContain('permission denied')
  })

  test('is cut at the end of the grant, says why, and leaves nothing running', async () => {
    await grant('lead', 'admin', '10m')
    const made = await grant('oncall', 'read', '4s')
    const started = performance.now()
    const leftMs = made.expiresAtMs - Date.now()
    const { code, stderr } = await psql('oncall', "select pg_sleep(300), 'marker-expiry'")
    const tookMs = performance.now() - started
    expect(code).not.toBe(0)
    expect(stderr).toContain('FATAL')
    expect(stderr).toContain('has ended')
    expect(stderr).toContain('HINT')
    expect(tookMs).toBeGreaterThan(leftMs - 500)
    // Long before the statement would have ended.
    expect(tookMs).toBeLessThan(leftMs + 60_000)
    await eventually(
      () => backendsRunning('marker-expiry'),
      (count) => count === 0,
    )
    const [session] = await eventually(
      () => sessionsOf(made.id),
      (sessions) => sessions[0]?.state === 'closed',
    )
    expect(session!.cut!.reason).toBe('grant-expired')
    expect(session!.cut!.lastByteAtMs! - made.expiresAtMs).toBeLessThan(1_000)
  })

  test('goes on when the grant is extended', async () => {
    const made = await grant('oncall', 'read', '8s')
    const running = psql('oncall', "select pg_sleep(9), 'marker-extended'")
    await wait(500)
    await site.sallyJson('admin', 'extend', made.id, '--for', '1m', '--reason', 'a test')
    const { code, stdout } = await running
    expect({ code, stdout }).toEqual({ code: 0, stdout: '|marker-extended\n' })
    await site.sallyJson('admin', 'revoke', made.id, '--reason', 'a test')
  })
})

describe('refusals', () => {
  test('are the same words whatever the cause', async () => {
    const ended = await grant('oncall', 'read', '1s')
    await eventually(
      () => Date.now(),
      (now) => now > ended.expiresAtMs + 200,
    )
    const refusals = await Promise.all([
      psql('auditor', 'select 1'),
      psql('oncall', 'select 1'),
      psql('dev', 'select 1', `${site.conninfo('dev')} user=delete~orders-db`),
      psql('dev', 'select 1', site.conninfo('dev', 'no-such-db')),
    ])
    const words = refusals.map(({ code, stderr }) => {
      expect(code).not.toBe(0)
      return (
        stderr
          // What the client itself named is said back to it.
          .replaceAll('no-such-db', 'orders-db')
          .replaceAll('--level delete', '--level read')
          .split('\n')
          .filter((line) => /FATAL|HINT/.test(line))
          .map((line) => line.replace(/^.*FATAL/, 'FATAL'))
          .join('\n')
      )
    })
    expect(new Set(words).size).toBe(1)
    expect(words[0]).toContain('FATAL')
  })

  test('without a certificate or without TLS say what to set', async () => {
    const bare = await run('psql', [
      ...['-X', '-c', 'select 1'],
      `host=orders-db.access.localhost hostaddr=127.0.0.1 port=${site.ready.proxy.ports.postgres} dbname=shop sslmode=disable`,
    ])
    expect(bare.stderr).toContain('sslmode')
    const nobody = await run(
      'psql',
      [
        ...['-X', '-c', 'select 1'],
        `host=orders-db.access.localhost hostaddr=127.0.0.1 port=${site.ready.proxy.ports.postgres} dbname=shop sslmode=verify-full sslrootcert=${site.ready.caFile}`,
      ],
      { HOME: site.directory },
    )
    expect(nobody.stderr).toContain('no password supplied')
  })
})

describe('revocation', () => {
  test('cuts every session of the grant and proves it', async () => {
    const made = await grant('oncall', 'read', '10m')
    const count = 40
    const clients = Array.from({ length: count }, (_, index) =>
      psql('oncall', `select pg_sleep(300), 'marker-revoked-${index}'`),
    )
    await eventually(
      () => sessionsOf(made.id),
      (sessions) => sessions.length === count && sessions.every((one) => one.state === 'live'),
    )
    await site.sallyJson('admin', 'revoke', made.id, '--reason', 'a test')
    for (const { stderr } of await Promise.all(clients)) expect(stderr).toContain('revoked')
    const sessions = await eventually(
      () => sessionsOf(made.id),
      (all) => all.every((one) => one.state === 'closed'),
    )
    for (const { cut } of sessions) {
      expect(cut!.reason).toBe('grant-revoked')
      expect(cut!.lastByteAtMs!).toBeGreaterThanOrEqual(cut!.orderedAtMs)
    }
    await eventually(
      () => backendsRunning('marker-revoked'),
      (left) => left === 0,
    )
  })
})

describe('the audit', () => {
  test('has every statement once, with parameters, rows and outcome', async () => {
    const script = [
      "select 'audit-simple', id from customers order by id limit 3;",
      "prepare p(int, text) as select $1, $2, 'audit-prepared';",
      "execute p(7, 'x');",
      "select 1/0, 'audit-error';",
    ].join('\n')
    await run('psql', ['-X', '-At', site.conninfo('dev')], {}, script)
    const simple = await eventually(
      () => search('audit-simple'),
      ([one]) => typeof one?.outcome?.status === 'string',
    )
    expect(simple).toHaveLength(1)
    expect(simple[0]!.outcome).toMatchObject({ status: 'ok', rows: 3, tag: 'SELECT 3' })
    const failed = await eventually(
      () => search('audit-error'),
      ([one]) => typeof one?.outcome?.status === 'string',
    )
    expect(failed).toHaveLength(1)
    expect(failed[0]!.outcome).toMatchObject({ status: 'error', errorCode: '22012' })
  })

  test('verifies', async () => {
    const { code, stdout, stderr } = await site.sally('auditor', 'audit', 'verify')
    expect({ code, stderr }, stdout).toMatchObject({ code: 0 })
  })

  test('is not for engineers, and its reading is itself in it', async () => {
    expect((await site.sally('dev', 'audit', 'search', 'x')).code).toBe(3)
    await site.sally('auditor', 'audit', 'search', 'a-rare-word')
    const actions = await site.sally('admin', 'audit', 'actions', '--json')
    expect(actions.stdout).toContain('a-rare-word')
  })
})

describe('clients', () => {
  test('Ctrl-C in psql cancels the query at the server', async () => {
    const child = spawn('psql', ['-X', '-At', site.conninfo('dev')])
    let output = ''
    child.stderr.on('data', (chunk) => (output += String(chunk)))
    child.stdin.write("select pg_sleep(60), 'marker-cancel';\n")
    await eventually(
      () => search('marker-cancel'),
      (found) => found.length > 0,
    )
    child.kill('SIGINT')
    child.stdin.end()
    await new Promise((done) => child.once('close', done))
    expect(output).toContain('canceling statement due to user request')
    const [cancelled] = await eventually(
      () => search('marker-cancel'),
      ([one]) => typeof one?.outcome?.status === 'string',
    )
    expect(cancelled!.outcome).toMatchObject({ status: 'cancelled', errorCode: '57014' })
  })

  test('pg_dump and pgbench work, and nothing is missing or twice', async () => {
    const made = await grant('lead', 'admin', '10m')
    const dump = await run('pg_dump', [
      '--schema-only',
      `${site.conninfo('lead')} user=admin~orders-db`,
    ])
    expect(dump.stderr).toBe('')
    expect(dump.stdout).toContain('CREATE TABLE')
    const environment = site.libpq('lead', { PGUSER: 'admin~orders-db' })
    const setUp = await run('pgbench', ['-i', '-q', '-s', '1'], environment)
    expect(setUp.code, setUp.stderr).toBe(0)
    for (const mode of ['simple', 'extended', 'prepared']) {
      const before = (await sessionsOf(made.id)).length
      const { code, stdout, stderr } = await run(
        'pgbench',
        ['-n', '-S', '-M', mode, '-c', '4', '-t', '250'],
        environment,
      )
      expect(code, stderr).toBe(0)
      expect(stdout).toContain('1000/1000')
      const sessions = await eventually(
        () => sessionsOf(made.id),
        (all) => all.length > before && all.every((one) => one.state === 'closed'),
      )
      // Newest first: four clients; psql's look-ups of pgbench have their own session.
      const ran = sessions.slice(0, sessions.length - before)
      expect(ran.reduce((sum, one) => sum + one.statements, 0)).toBeGreaterThanOrEqual(1_000)
    }
    const found = await eventually(
      () => search('FROM pgbench_accounts WHERE aid', '--limit', '5000', '--all'),
      (all) => all.length >= 3_000,
    )
    expect(found).toHaveLength(3_000)
    expect(new Set(found.map((one) => `${one.epoch}/${one.sequence}`)).size).toBe(3_000)
  })

  test('sally connect runs psql with everything set', async () => {
    const { code, stdout, stderr } = await site.sally(
      'dev',
      ...['connect', 'orders-db', '--', '-X', '-At', '-c', 'select 40 + 2'],
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '42\n', stderr: '' })
    const told = await site.sallyJson<{ command: string[]; env: Record<string, string> }>(
      'dev',
      ...['connect', 'orders-db'],
    )
    const again = await run(
      told.command[0]!,
      [...told.command.slice(1), '-X', '-At', '-c', 'select 6 * 7'],
      told.env,
    )
    expect(again.stdout).toBe('42\n')
  })
})
