/** Each command once for people and once as JSON, against real control with a proxy and a database. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type {
  ActivityView,
  Grant,
  Person,
  ResourcesPlan,
  ResourceView,
  SessionView,
} from '../../../control/api/shapes.ts'
import { eventually, startDemo, type DemoSite, type Who } from '../../demo-site.ts'
import { runSally } from '../../run-sally.ts'

interface Page<T> {
  items: T[]
  next: string | null
}
let site: DemoSite

beforeAll(async () => {
  site = await startDemo()
})
afterAll(async () => {
  await site?.stop()
})

async function human(who: Who, ...parameters: string[]): Promise<string> {
  const run = await site.sally(who, ...parameters)
  expect(run.code, run.stderr).toBe(0)
  return run.stdout
}
const json = <T>(who: Who, ...parameters: string[]): Promise<T> =>
  site.sallyJson<T>(who, ...parameters)
const grantLine = (who: string, ...more: string[]): string[] => [
  ...['grant', `${who}@example.test`, 'orders-db', '--for', '10m', '--reason', 'a test'],
  ...more,
]

test('whoami, resources, doctor', async () => {
  expect(await human('dev', 'whoami')).toMatch(/dev@example\.test[^]*engineer/)
  expect(await json('admin', 'whoami')).toMatchObject({
    person: { email: 'admin@example.test', state: 'active' },
    realm: 'default',
  })
  expect(await human('dev', 'resources')).toContain('orders-db')
  const seen = await json<Page<ResourceView>>('dev', 'resources')
  expect(seen.items.map(({ name }) => name)).toEqual(['orders-db', 'web1', 'wiki'])
  expect(seen.items[0]).not.toHaveProperty('definition')
  expect((await json<Page<ResourceView>>('admin', 'resources')).items[0]).toHaveProperty(
    'definition',
  )
  expect(await human('dev', 'doctor')).toMatch(/ok +proxy/)
  expect(await json('dev', 'doctor')).toMatchObject({ ok: true })
})

test('grant, grants, extend, revoke', async () => {
  expect(await human('admin', ...grantLine('oncall', '--level', 'read'))).toContain(
    'oncall@example.test has read',
  )
  const made = await json<Grant>('admin', ...grantLine('oncall', '--level', 'write'))
  expect(made).toMatchObject({ state: 'live', level: 'write', revision: 1 })
  const mine = await json<Page<Grant>>('oncall', 'grants', '--mine')
  expect(mine.items.map(({ level }) => level)).toEqual(['write', 'read'])
  expect(await human('admin', 'grants', '--person', 'oncall@example.test')).toMatch(
    /write +live +in 9m/,
  )
  const extended = await json<Grant>('admin', 'extend', made.id, '--for', '1h', '--reason', 'x')
  expect(extended).toMatchObject({ revision: 2, expiresAtMs: made.expiresAtMs + 3_600_000 })
  expect(await human('admin', 'extend', made.id, '--for', '1h', '--reason', 'x')).toContain(
    'revision 3',
  )
  // The grants list shows as many characters as tell them apart; those are enough.
  const shown = /^(\S+) .*write/m.exec(
    await human('admin', 'grants', '--person', 'oncall@example.test'),
  )
  const revoked = await json<Grant>('admin', 'revoke', shown![1]!, '--reason', 'x')
  expect(revoked).toMatchObject({ id: made.id, state: 'revoked', revokedBy: 'admin@example.test' })
  const late = await site.sally('admin', 'extend', made.id, '--for', '1h', '--reason', 'x')
  expect(late.code).toBe(7)
  const left = await json<Page<Grant>>('admin', 'grants', '--person', 'oncall@example.test')
  expect(await human('admin', 'revoke', left.items[0]!.id, '--reason', 'x')).toContain(
    'no longer has read',
  )
})

test('connect, sessions, sessions cut', async () => {
  const query = (sql: string) => ['connect', 'orders-db', '--', '-X', '-At', '-c', sql]
  expect(await human('dev', ...query("select 'cli ' || current_database()"))).toBe('cli shop\n')
  expect((await site.sally('dev', ...query('select 1/0'))).code).toBe(1)
  const invocation = await json<{ command: string[]; env: Record<string, string> }>(
    'dev',
    'connect',
    'orders-db',
  )
  expect(invocation).toMatchObject({ command: ['psql'], env: { PGDATABASE: 'shop' } })
  expect((await site.sally('auditor', 'connect', 'nothing-here')).code).toBe(4)

  const running = site.sally('dev', ...query("select pg_sleep(120), 'cli-cut'"))
  const live = () =>
    json<Page<SessionView>>('admin', 'sessions', '--live', '--person', 'dev@example.test')
  const [session] = (await eventually(live, ({ items }) => items.length === 1)).items
  expect(await human('admin', 'sessions', '--live')).toMatch(
    /dev@example\.test +orders-db +read +live/,
  )
  expect(await json('admin', 'sessions', 'cut', session!.id, '--reason', 'x')).toEqual({
    done: true,
    id: session!.id,
  })
  expect(await running).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('FATAL') as string,
  })
  const closed = await eventually(
    async () =>
      (await json<Page<SessionView>>('dev', 'sessions')).items.find(({ id }) => id === session!.id),
    (found) => found?.state === 'closed',
  )
  expect(closed!.cut!.reason).toBe('cut-by-admin')
  const second = site.sally('dev', ...query("select pg_sleep(120), 'cli-cut'"))
  const [next] = (await eventually(live, ({ items }) => items.length === 1)).items
  expect(await human('admin', 'sessions', 'cut', next!.id, '--reason', 'x')).toContain(
    'cut: dev@example.test',
  )
  expect((await second).code).toBe(2)
})

test('audit search, actions, status', async () => {
  await human(
    'dev',
    'connect',
    'orders-db',
    '--',
    '-X',
    '-c',
    `select 'cli-searched', e'\\u001b[2J'`,
  )
  const found = await eventually(
    () => json<Page<ActivityView>>('auditor', 'audit', 'search', 'CLI-searched', '--since', '1h'),
    ({ items }) => (items[0]?.outcome ?? null) !== null,
  )
  expect(found.items).toMatchObject([
    { personEmail: 'dev@example.test', outcome: { status: 'ok', rows: 1 } },
  ])
  expect(await human('auditor', 'audit', 'search', 'cli-searched')).toMatch(/ok +1 .*cli-searched/)
  const session = found.items[0]!.sessionId
  const ofSession = await json<Page<ActivityView>>(
    'auditor',
    'audit',
    'search',
    '--session',
    session,
  )
  expect(ofSession.items.every(({ sessionId }) => sessionId === session)).toBe(true)
  const none = await json<Page<ActivityView>>(
    'auditor',
    'audit',
    'search',
    'cli-searched',
    '--until',
    '1h',
  )
  expect(none.items).toEqual([])
  expect((await site.sally('dev', 'audit', 'search', 'x')).code).toBe(3)
  expect(await human('auditor', 'audit', 'actions')).toContain('grant.made')
  expect(
    (await json<Page<object>>('auditor', 'audit', 'actions', '--limit', '3')).items,
  ).toHaveLength(3)
  expect(await human('auditor', 'audit', 'status')).toMatch(/connected/)
  expect(await json('auditor', 'audit', 'status')).toMatchObject({
    proxies: [{ connected: true, quarantined: 0 }],
  })
})

test('audit export and verify, there and offline', async () => {
  expect(await human('auditor', 'audit', 'verify')).toContain('green')
  const verdict = await json<{ ok: boolean; entries: number }>('auditor', 'audit', 'verify')
  expect(verdict.ok).toBe(true)
  expect(verdict.entries).toBeGreaterThan(10)
  for (const more of [[], ['--payloads']]) {
    const file = join(site.directory, `audit${more.length}.jsonl`)
    expect(await json('auditor', 'audit', 'export', '--output', file, ...more)).toMatchObject({
      file,
    })
    const offline = await runSally(['audit', 'verify', file, '--json'], {
      home: join(site.directory, 'nowhere'),
    })
    expect(JSON.parse(offline.stdout)).toMatchObject({ ok: true, damage: [] })
    expect(statements(file).includes('cli-searched')).toBe(more.length > 0)
  }
  expect(
    await human('auditor', 'audit', 'export', '--output', join(site.directory, 'h.jsonl')),
  ).toContain('segments')
})

test('apply', async () => {
  const file = join(site.directory, 'resources.yaml')
  const write = (port: number): void =>
    writeFileSync(
      file,
      `resources:
  - name: cli-db
    protocol: postgres
    address: { host: 127.0.0.1, port: ${port} }
    levels: { read: { account: reader, secret: "sealed:cli-db/read" } }
`,
    )
  write(5_432)
  expect(await human('admin', 'apply', file, '--dry-run')).toMatch(/\+ cli-db[^]*1 to add/)
  expect(await json<ResourcesPlan>('admin', 'apply', file, '--yes')).toMatchObject({
    applied: true,
  })
  expect(await human('admin', 'apply', file, '--yes')).toContain('nothing to change')
  write(5_433)
  expect(await human('admin', 'apply', file, '--yes')).toMatch(/~ cli-db\n.*5432 → 5433/)
  expect((await site.sally('dev', 'apply', file, '--yes')).code).toBe(3)
  write(0)
  expect((await site.sally('admin', 'apply', file, '--yes')).code).toBe(2)
})

test('people and certificates', async () => {
  expect(await human('admin', 'people', 'list')).toMatch(/auditor@example\.test +.*auditor +active/)
  expect(await human('admin', 'people', 'add', 'new@example.test')).toContain('as engineer')
  expect((await site.sally('admin', 'people', 'add', 'NEW@example.test')).code).toBe(7)
  expect(
    await json<Person>(
      'admin',
      'people',
      'add',
      'two@example.test',
      '--role',
      'auditor',
      'engineer',
      '--name',
      'Two',
    ),
  ).toMatchObject({
    name: 'Two',
    roles: ['auditor', 'engineer'],
  })
  expect((await json<Page<Person>>('admin', 'people', 'list')).items.length).toBeGreaterThan(6)
  const home = join(site.directory, 'new-home')
  const issued = await json<{ serial: string }>(
    'admin',
    'people',
    'certificate',
    'new@example.test',
    '--home',
    home,
    '--for',
    '1h',
  )
  expect(statSync(join(home, 'key.pem')).mode & 0o777).toBe(0o600)
  expect((await runSally(['whoami'], { home })).stdout).toMatch(
    /new@example\.test[^]*ends in (1h|59m)/,
  )
  expect(await human('admin', 'certificates', 'revoke', issued.serial, '--reason', 'x')).toContain(
    'revoked',
  )
  expect((await runSally(['whoami'], { home })).code).toBe(6)
  expect(
    await human('admin', 'people', 'certificate', 'new@example.test', '--home', home, '--replace'),
  ).toContain('signed in')
  expect((await runSally(['whoami'], { home })).code).toBe(0)
  expect(await human('admin', 'people', 'revoke', 'new@example.test', '--reason', 'x')).toContain(
    'revoked',
  )
  expect((await runSally(['whoami'], { home })).code).toBe(6)
  expect(
    await json('admin', 'people', 'restore', 'new@example.test', '--reason', 'x'),
  ).toMatchObject({ state: 'active' })
  // Certificates from before stay revoked.
  expect((await runSally(['whoami'], { home })).code).toBe(6)
})

test('proxies and their secrets', async () => {
  expect(await human('admin', 'proxy', 'join-token')).toMatch(/^sallyport-join\./)
  expect(await json('admin', 'proxy', 'join-token')).toHaveProperty('expiresAtMs')
  expect((await site.sally('admin', 'proxy', 'join-token', '--group', 'none')).code).toBe(4)
  expect(await human('admin', 'proxy', 'list')).toMatch(
    /default +\*\.access\.localhost .*connected/,
  )
  expect(await json('admin', 'proxy', 'list')).toMatchObject({ items: [{ name: 'default' }] })
  const data = join(site.directory, 'other-proxy')
  mkdirSync(data)
  const set = await runSally(['secret', 'set', 'sealed:x/y', '--proxy-data', data], {
    input: 'hunter2',
  })
  expect(set).toMatchObject({ code: 0 })
  expect((await runSally(['secret', 'list', '--proxy-data', data])).stdout).toBe('sealed:x/y\n')
})

/** Every byte of the chains in a bundle. */
function statements(file: string): Buffer {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(1, -1)
  // Between the segments stand the places where an export that broke off goes on.
  const segments = lines.map((line) => JSON.parse(line) as { batches?: string })
  return Buffer.concat(segments.map(({ batches }) => Buffer.from(batches ?? '', 'base64')))
}
