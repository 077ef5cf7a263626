import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Grant } from '../../control/api/shapes.ts'
import { clusterPlace } from '../../deploy/postgres/place.ts'
import { sleep, systemClock as clock } from '../../protocols/kit/clock.ts'
import { psql, run } from '../stack.ts'

const demoScript = join(import.meta.dirname, '../../deploy/demo.ts')
const startMsMax = 90_000

/** Section 10 of the design: nothing missing, nothing more. */
const readyShape = z.strictObject({
  control: z.strictObject({ url: z.url({ protocol: /^https$/ }) }),
  console: z.strictObject({ url: z.url() }),
  domain: z.literal('access.localhost'),
  caFile: z.string(),
  proxy: z.strictObject({
    host: z.literal('127.0.0.1'),
    ports: z.strictObject({
      postgres: z.int().positive(),
      ssh: z.int().positive(),
      http: z.int().positive(),
    }),
  }),
  people: z.array(
    z.strictObject({ email: z.email(), password: z.string().min(8), home: z.string() }),
  ),
  resources: z.array(
    z.strictObject({
      name: z.string(),
      protocol: z.string(),
      hostname: z.string(),
      levels: z.array(z.string()),
    }),
  ),
  sally: z.tuple([z.string(), z.string()]),
})

interface RunningDemo {
  readonly process: ChildProcess
  readonly ready: z.infer<typeof readyShape>
  readonly printed: () => string
}

describe('the demo', () => {
  let directory: string
  let demo: RunningDemo

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-demo-test-'))
    demo = await start()
  }, startMsMax + 10_000)
  afterAll(async () => {
    await stop(demo)
    const place = clusterPlace(join(directory, 'data'))
    rmSync(place, { recursive: true, force: true })
    rmSync(directory, { recursive: true, force: true })
  })

  const start = async (): Promise<RunningDemo> => {
    const readyFile = join(directory, 'ready.json')
    // One that was killed leaves it.
    rmSync(readyFile, { force: true })
    const child = startDemo('--ready', readyFile)
    let printed = ''
    child.stdout!.on('data', (chunk: Buffer) => (printed += chunk.toString()))
    child.stderr!.on('data', (chunk: Buffer) => (printed += chunk.toString()))
    await until(
      () => existsSync(readyFile) || child.exitCode !== null,
      startMsMax,
      () => printed,
    )
    if (child.exitCode !== null) throw new Error(`the demo ended:\n${printed}`)
    const ready = readyShape.parse(JSON.parse(readFileSync(readyFile, 'utf8')))
    return { process: child, ready, printed: () => printed }
  }
  const startDemo = (...more: string[]): ChildProcess =>
    spawn(
      process.execPath,
      [demoScript, '--data-dir', join(directory, 'data'), '--ports', 'random', ...more],
      { stdio: ['ignore', 'pipe', 'pipe'], cwd: directory },
    )
  const homeOf = (name: string): string =>
    demo.ready.people.find(({ email }) => email === `${name}@example.test`)!.home
  const sally = (name: string, ...parameters: string[]) => {
    const [node, script] = demo.ready.sally
    return run(node, [script, ...parameters], { SALLY_HOME: homeOf(name) })
  }
  const connection = (name: string): NodeJS.ProcessEnv => ({
    PGHOST: `orders-db.${demo.ready.domain}`,
    PGHOSTADDR: demo.ready.proxy.host,
    PGPORT: String(demo.ready.proxy.ports.postgres),
    PGDATABASE: 'shop',
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: demo.ready.caFile,
    PGSSLCERT: join(homeOf(name), 'cert.pem'),
    PGSSLKEY: join(homeOf(name), 'key.pem'),
  })
  const pids = (): number[] =>
    z
      .array(z.int())
      .parse(JSON.parse(readFileSync(join(directory, 'data', 'processes.json'), 'utf8')))

  it('says who is there and what can be reached', () => {
    const { people, resources } = demo.ready
    expect(people.map(({ email }) => email).sort()).toEqual(
      ['admin', 'auditor', 'dev', 'lead', 'oncall'].map((name) => `${name}@example.test`),
    )
    expect(resources).toEqual([
      {
        name: 'orders-db',
        protocol: 'postgres',
        hostname: 'orders-db.access.localhost',
        levels: ['read', 'write', 'delete', 'admin'],
      },
      {
        name: 'web1',
        protocol: 'ssh',
        hostname: 'web1.access.localhost',
        levels: ['read', 'admin'],
      },
      {
        name: 'wiki',
        protocol: 'http',
        hostname: 'wiki.access.localhost',
        levels: ['read', 'write', 'delete', 'admin'],
      },
    ])
    expect(demo.printed()).toContain('sally connect orders-db')
  })

  it('lets dev in once dev has asked, and not before', async () => {
    const before = await psql(connection('dev'), 'select 1')
    expect(before.code).toBe(2)
    expect(before.errors).toContain('sally request')
    const ask = ['--level', 'read', '--for', '8h', '--reason', 'a test', '--wait']
    const asked = await sally('dev', 'request', 'orders-db', ...ask)
    expect(asked.code, asked.errors).toBe(0)
  })

  it('lets dev read with plain psql, and nobody write at read level', async () => {
    const counted = await psql(
      connection('dev'),
      `select (select count(*) from customers) + (select count(*) from orders) +
         (select count(*) from order_items) + (select count(*) from payments) > 100000`,
    )
    expect(counted).toMatchObject({ code: 0, output: 't\n' })
    const written = await psql(connection('dev'), `update products set stock = 0`)
    expect(written.errors).toContain('permission denied')
    const lead = await psql(connection('lead'), 'select 1')
    expect(lead.code).toBe(2)
  })

  it('has card numbers with right check digits and customers with addresses', async () => {
    const wrong = await psql(
      connection('dev'),
      `select count(*) from (
         select id, sum(case when n % 2 = 0 then case when d > 4 then 2 * d - 9 else 2 * d end else d end) as total
         from customers cross join lateral
           (select n, substr(card_number, 17 - n, 1)::int as d from generate_series(1, 16) as n) as digits
         group by id) as sums
       where total % 10 <> 0`,
    )
    expect(wrong).toMatchObject({ code: 0, output: '0\n' })
    const mail = await psql(
      connection('dev'),
      `select count(*) from customers where email !~ '^[a-z.]+[0-9]+@example\\.(com|org|net)$'`,
    )
    expect(mail.output).toBe('0\n')
  })

  it('each level may do what it is for', async () => {
    await sally('admin', 'grant', 'oncall@example.test', 'orders-db', ...forATest('write'))
    const write = { ...connection('oncall'), PGUSER: 'write~orders-db' }
    expect(await psql(write, 'update products set stock = stock')).toMatchObject({ code: 0 })
    expect((await psql(write, 'delete from payments')).errors).toContain('permission denied')
    await sally('admin', 'grant', 'oncall@example.test', 'orders-db', ...forATest('delete'))
    const remove = { ...connection('oncall'), PGUSER: 'delete~orders-db' }
    expect(await psql(remove, 'delete from payments where id = -1')).toMatchObject({ code: 0 })
    expect((await psql(remove, 'create table x ()')).errors).toContain('permission denied')
    await sally('admin', 'grant', 'oncall@example.test', 'orders-db', ...forATest('admin'))
    const admin = { ...connection('oncall'), PGUSER: 'admin~orders-db' }
    expect(await psql(admin, 'create table x (); drop table x')).toMatchObject({ code: 0 })
  })

  it('keeps passwords out of its logs, and what is private private', () => {
    const data = join(directory, 'data')
    for (const name of readdirSync(join(data, 'logs'))) {
      const text = readFileSync(join(data, 'logs', name), 'utf8')
      expect(text).not.toMatch(/PRIVATE KEY|password '/)
    }
    for (const name of ['control', 'proxy', 'homes', 'superuser-password']) {
      expect(statSync(join(data, name)).mode & 0o077).toBe(0)
    }
  })

  it('refuses a second one on the same data', async () => {
    const second = startDemo()
    let errors = ''
    second.stderr!.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    const [code] = (await once(second, 'exit')) as [number]
    expect(code).toBe(1)
    expect(errors).toContain('another Sallyport runs on')
  })

  it('leaves nothing behind when it is killed, and starts again on what is there', async () => {
    const running = pids()
    expect(running).toHaveLength(5)
    const grants = async (): Promise<string[]> => {
      const { output } = await sally('dev', 'grants', '--json')
      const parsed = JSON.parse(output) as { items: Grant[] }
      return parsed.items.map(({ id }) => id)
    }
    const before = await grants()
    demo.process.kill('SIGKILL')
    await once(demo.process, 'exit')
    await until(() => running.every((pid) => !isAlive(pid)), 60_000)
    demo = await start()
    expect(await grants()).toEqual(before)
    expect(await psql(connection('dev'), 'select 1')).toMatchObject({ code: 0, output: '1\n' })
  })

  it('stops at SIGTERM, with everything it started', async () => {
    const running = pids()
    expect(await stop(demo)).toBe(0)
    expect(running.some(isAlive)).toBe(false)
  })
})

const forATest = (level: string): string[] => [
  ...['--level', level, '--for', '5m', '--reason', 'a test'],
]

async function stop(demo: RunningDemo | undefined): Promise<number | null> {
  const child = demo?.process
  if (child === undefined) return null
  if (child.exitCode === null && child.signalCode === null) {
    const gone = once(child, 'exit')
    child.kill('SIGTERM')
    await gone
  }
  return child.exitCode
}

async function until(holds: () => boolean, msMax: number, why = () => ''): Promise<void> {
  const deadlineMs = clock.monotonicMs() + msMax
  while (!holds()) {
    if (clock.monotonicMs() > deadlineMs) throw new Error(`still not after ${msMax} ms\n${why()}`)
    await sleep(clock, 50)
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
