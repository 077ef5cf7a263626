/** Each command once for people and once as JSON: the real program against control's API as the routes have it. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../protocols/kit/clock.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { dev, grants, makeGrant, ordersDb, session, shopHandlers } from '../../fakes/shop.ts'
import { runSally, type SallyRun } from '../../run-sally.ts'

let api: FakeApi
let scratch: string
let home: string
let usual: FakeHandlers

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-commands-'))
  usual = await shopHandlers()
  api = await startFakeApi(usual)
  home = await makeHome(api, join(scratch, 'home'), { email: 'admin@example.test' })
})
beforeEach(() => {
  api.handlers = usual
  api.calls.length = 0
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

const sally = (...commandLine: string[]): Promise<SallyRun> => runSally(commandLine, { home })
describe('commands', () => {
  const grantLine = [
    'grant',
    dev.email,
    'orders-db',
    '--level',
    'read',
    '--for',
    '1m',
    '--reason',
    'x',
  ]
  test.each<[string[], RegExp, object]>([
    [
      ['whoami'],
      /admin@example\.test[^]*roles +admin[^]*ends in (8h|7h 59m)/,
      { realm: 'default' },
    ],
    [
      ['resources'],
      /orders-db +postgres +read,write/,
      { items: [{ name: 'orders-db' }], next: null },
    ],
    [
      grantLine,
      /dev@example\.test has read on orders-db until .*\(in (59s|1m)\)/,
      { level: 'read', state: 'live' },
    ],
    [
      ['grants'],
      /0190aaaa-bbb1 +dev@example\.test +orders-db +read +live +in 59m/,
      { items: [{ id: grants[0]!.id }, {}] },
    ],
    [
      ['extend', '0190aaaa-bbb1', '--for', '1h', '--reason', 'x'],
      /until .*\(in 1h 59m\)[^]*revision 2/,
      { revision: 2 },
    ],
    [
      ['revoke', '0190aaaa-bbb2', '--reason', 'x'],
      /revoked: dev@example\.test no longer has write/,
      { state: 'revoked' },
    ],
    [
      ['revoke', '0190aaaa-bbb2', '0190aaaa-bbb1', '0190aaaa-bbb2', '--reason', 'x'],
      /revoked: dev@example\.test no longer has write[^]*revoked: dev@example\.test no longer has read/,
      { items: [{ state: 'revoked' }, { state: 'revoked' }] },
    ],
    [
      ['sessions'],
      /55555555 +dev@example\.test +orders-db +read +live +\dm \d+s ago +\dm \d+s +3 +12 kB/,
      { items: [{ id: session.id }] },
    ],
    [
      ['sessions', 'cut', '555555', '--reason', 'x'],
      /cut: dev@example\.test/,
      { done: true, id: session.id },
    ],
    [
      ['audit', 'search', 'orders'],
      /ok +1 +2ms +select/,
      { items: [{ sequence: 4 }], indexLagMs: 0 },
    ],
    [
      ['audit', 'actions'],
      /grant\.made +admin@example\.test/,
      { items: [{ action: 'grant.made' }] },
    ],
    [
      ['audit', 'status'],
      /11111111 +connected +.*10 +9 +1s +0/,
      { proxies: [{ entriesReceived: 10 }] },
    ],
    [
      ['people', 'list'],
      /dev@example\.test +Dev Eloper +engineer +active/,
      { items: [{ email: dev.email }] },
    ],
    [
      ['people', 'add', 'new@example.test', '--role', 'auditor'],
      /added: new@example\.test as auditor/,
      { email: 'new@example.test' },
    ],
    [
      ['people', 'revoke', dev.email, '--reason', 'x'],
      /revoked: dev@example/,
      { state: 'revoked' },
    ],
    [
      ['people', 'restore', dev.email, '--reason', 'x'],
      /restored: dev@example/,
      { state: 'active' },
    ],
    [
      ['certificates', 'revoke', '00:AB:cd', '--reason', 'x'],
      /revoked: certificate abcd/,
      { done: true, serial: 'abcd' },
    ],
    [
      ['proxy', 'join-token'],
      /^sallyport-join\.secret\.digest\n$/,
      { token: 'sallyport-join.secret.digest' },
    ],
    [
      ['proxy', 'list'],
      /default +\*\.access\.localhost +11111111 +one +connected/,
      { items: [{ name: 'default' }] },
    ],
    [['completion', 'bash'], /complete -o filenames -F _sally sally/, { shell: 'bash' }],
    [['help', 'exit-codes'], /70 {2}a mistake in sally/, { topic: 'exit-codes' }],
    [['help', 'audit', 'verify'], /Usage: sally audit verify/, { topic: 'audit verify' }],
    [['--version'], /^sally \d+\.\d+\.\d+\n$/, { version: expect.any(String) as string }],
  ])('sally %j', async (commandLine, human, json) => {
    const [forPeople, forScripts] = await Promise.all([
      sally(...commandLine),
      sally(...commandLine, '--json'),
    ])
    expect(forPeople.stderr).not.toContain('error')
    expect(forPeople.stdout).toMatch(human)
    expect(forPeople.code).toBe(0)
    expect(forScripts).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(forScripts.stdout)).toMatchObject(json)
  })

  test('filters reach control as it names them', async () => {
    const nowMs = systemClock.wallMs()
    await sally('grants', '--mine', '--state', 'all', '--resource', 'orders-db')
    await sally('sessions', '--live', '--person', dev.email)
    await sally('audit', 'search', '--session', '555555', '--since', '1h', '--oldest')
    expect(api.calls.map(({ name, query }) => [name, query])).toMatchObject([
      ['grants', { person: 'admin@example.test', state: 'all', resource: 'orders-db' }],
      ['sessions', { state: 'live', person: dev.email }],
      ['sessions', { state: 'all' }],
      ['auditSearch', { session: session.id, order: 'oldest' }],
    ])
    const since = Number(api.calls.at(-1)?.query['since'])
    expect(Math.abs(nowMs - 3_600_000 - since)).toBeLessThan(60_000)
  })

  test('--limit and --all walk through pages, and say when there is more', async () => {
    const all = Array.from({ length: 2_500 }, (_, index) =>
      makeGrant(`${index.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`),
    )
    api.handlers = {
      ...usual,
      grants: ({ query }) => {
        const at = Number(query['cursor'] ?? 0)
        const end = at + Number(query['limit'])
        return { items: all.slice(at, end), next: end < all.length ? String(end) : null }
      },
    }
    const read = async (...more: string[]) =>
      JSON.parse((await sally('grants', '--json', ...more)).stdout) as {
        items: []
        next: string | null
      }
    expect((await read()).items).toHaveLength(100)
    expect((await read('--limit', '1500')).items).toHaveLength(1_500)
    expect(await read('--all')).toMatchObject({ items: { length: 2_500 }, next: null })
    expect((await sally('grants')).stderr).toContain('--all')
    expect((await sally('grants', '--limit', '0')).code).toBe(2)
  })

  test('control characters in statements do not reach the terminal', async () => {
    const { stdout } = await sally('audit', 'search')
    // oxlint-disable-next-line no-control-regex
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
    expect(stdout).toContain(String.raw`select '\x1b[2J\x1b]0;owned\x07'\nfrom orders`)
    const json = await sally('audit', 'search', '--json')
    expect(json.stdout).not.toContain('\u009b')
    expect(JSON.parse(json.stdout)).toMatchObject({
      items: [{ parameters: [{ value: '\u009b31m42' }, {}] }],
    })
  })

  test('tables are cut to the width that is asked for', async () => {
    const { stdout } = await runSally(['audit', 'search'], { home, environment: { COLUMNS: '60' } })
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(60)
    expect(stdout).toContain('…')
  })
})

describe('refusals', () => {
  const errorOf = ({ stderr }: SallyRun) =>
    (JSON.parse(stderr) as { error: { code: string; message: string; hint?: string } }).error

  test.each<[string, string[], number]>([
    ['an unknown command', ['grnat'], 2],
    ['an unknown option', ['grants', '--foo'], 2],
    ['a missing option', ['grant', 'a@b.test', 'orders-db'], 2],
    ['a bad duration', ['extend', '0190aaaa-bbb1', '--for', 'soon', '--reason', 'x'], 2],
    ['a short prefix', ['revoke', '0190', '--reason', 'x'], 2],
    ['a prefix of two', ['revoke', '0190aaaa', '--reason', 'x'], 2],
    ['a prefix of none', ['revoke', 'abcdef', '--reason', 'x'], 4],
    ['an id of none', ['revoke', '00000000-0000-4000-8000-00000000000f', '--reason', 'x'], 4],
    ['a grant that is over', ['revoke', '777777', '--reason', 'x'], 7],
    ['an unknown person', ['people', 'revoke', 'nobody@example.test', '--reason', 'x'], 4],
    ['a file that is not there', ['apply', '/does/not/exist.yaml'], 2],
    ['help on nothing', ['help', 'nothing'], 2],
  ])('%s', async (_, commandLine, code) => {
    const [forPeople, forScripts] = await Promise.all([
      sally(...commandLine),
      sally(...commandLine, '--json'),
    ])
    expect(forPeople.code).toBe(code)
    expect(forPeople.stdout).toBe('')
    expect(forPeople.stderr).toMatch(/^error: /)
    expect(forPeople.stderr).not.toMatch(/^ +at /m)
    expect(forScripts).toMatchObject({ code, stdout: '' })
    expect(errorOf(forScripts).message).not.toBe('')
  })

  test.each<[SallyportError['code'], number, RegExp]>([
    ['not-allowed', 3, /sally whoami/],
    ['evidence-expired', 6, /sally people certificate/],
    ['rate-limited', 5, /try again/],
    ['internal', 70, /./],
  ])('control says %s', async (code, exit, hint) => {
    api.handlers = {
      whoami: () => {
        throw new SallyportError(code, 'no', { clientMessage: `no: ${code}` })
      },
    }
    const run = await sally('whoami', '--json')
    expect(run.code).toBe(exit)
    expect(errorOf(run).code).toBe(code)
    if (code !== 'internal') expect(errorOf(run).hint).toMatch(hint)
  })

  test('a mistyped command is met with the right one', async () => {
    expect((await sally('grnat')).stderr).toContain('did you mean grant')
    expect((await sally('audit', 'serch')).stderr).toContain('did you mean search')
  })

  test('nobody is signed in', async () => {
    const run = await runSally(['whoami', '--json'], { home: join(scratch, 'nowhere') })
    expect(run.code).toBe(6)
    expect(errorOf(run)).toMatchObject({ code: 'evidence-missing' })
  })

  test('a key that others can read, with the command that mends it', async () => {
    const open = await makeHome(api, join(scratch, 'open'))
    chmodSync(join(open, 'key.pem'), 0o644)
    const run = await runSally(['whoami', '--json'], { home: open })
    expect(run.code).toBe(2)
    expect(errorOf(run)).toMatchObject({
      code: 'config-invalid',
      hint: `run: chmod 600 ${open}/key.pem`,
    })
    expect(api.calls).toEqual([])
  })

  test('control is not there, or is somebody else', async () => {
    const lost = await makeHome(api, join(scratch, 'lost'))
    const path = join(lost, 'config.json')
    writeFileSync(path, readFileSync(path, 'utf8').replace(api.url, 'https://127.0.0.1:1'))
    expect((await runSally(['whoami'], { home: lost })).code).toBe(5)
    const fooled = await makeHome(api, join(scratch, 'fooled'))
    writeFileSync(join(fooled, 'control-ca.pem'), api.people.certificatePem)
    const run = await runSally(['whoami', '--json'], { home: fooled })
    expect(run.code).toBe(5)
    expect(errorOf(run).code).toBe('control-unreachable')
    expect(api.calls).toEqual([])
  })

  test('where it came from is shown only to who asks', async () => {
    const run = await runSally(['grants', '--foo'], { home, environment: { SALLY_DEBUG: '1' } })
    expect(run.stderr).toMatch(/^ +at /m)
  })
})

test('resources without anything, and a hint that helps', async () => {
  api.handlers = { resources: () => ({ items: [], next: null }) }
  expect((await sally('resources')).stdout).toContain('sally grant')
  api.handlers = { resources: () => ({ items: [ordersDb], next: null }) }
  expect((await sally('resources')).stdout).toContain('tier=gold')
})
