/** Asking, deciding and giving back: the real program against control's API as the routes have it. */
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { startAsking, type Asking } from '../../fakes/requests.ts'
import { dev, ordersDb, shopHandlers } from '../../fakes/shop.ts'
import { runSally, type SallyRun } from '../../run-sally.ts'
import { eventually } from '../../demo-site.ts'

let api: FakeApi
let scratch: string
let devHome: string
let leadHome: string
let usual: FakeHandlers
let asking: Asking

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-asking-'))
  usual = await shopHandlers()
  api = await startFakeApi(usual)
  devHome = await makeHome(api, join(scratch, 'dev'), { proxyPort: 15_432 })
  leadHome = await makeHome(api, join(scratch, 'lead'), { email: 'lead@example.test' })
})
beforeEach(() => {
  asking = startAsking()
  const whoami: FakeHandlers['whoami'] = async (call) => {
    const answer = await usual.whoami!(call)
    return { ...answer, person: { ...answer.person, roles: ['engineer'] } }
  }
  api.handlers = { ...usual, ...asking.handlers, whoami }
  api.calls.length = 0
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

const asDev = (...commandLine: string[]): Promise<SallyRun> =>
  runSally(commandLine, { home: devHome })
const asLead = (...commandLine: string[]): Promise<SallyRun> =>
  runSally(commandLine, { home: leadHome })
const write = ['request', 'orders-db', '--level', 'write', '--reason', 'restock']
const requestOf = ({ stdout }: SallyRun) =>
  (JSON.parse(stdout) as { request: { id: string; state: string }; grant: object | null }).request
const askedOnce = () =>
  eventually(
    () => [...asking.requests.values()],
    (all) => all.length === 1,
  )

describe('request', () => {
  test('at once, with the command to connect', async () => {
    const run = await asDev('request', 'orders-db', '--level', 'read', '--for', '10m')
    expect(run.code, run.stderr).toBe(0)
    expect(run.stdout).toMatch(
      /^approved: dev@example\.test has read on orders-db until .*\(in (10m|9m 59s)\)\ngrant \S+, request \S+\nconnect: sally connect orders-db --level read\n$/,
    )
    expect(api.calls.map(({ body }) => body)).toEqual([
      { resource: 'orders-db', level: 'read', forMs: 600_000, reason: '' },
    ])
  })

  test('what waits is asked for, and said how to see it and take it back', async () => {
    const run = await asDev(...write)
    expect(run.stdout).toMatch(/asked: write on orders-db for 1h; it waits for 1 more yes of leads/)
    expect(run.stderr).toMatch(/sally requests --mine[^]*sally withdraw/)
    expect(run.code).toBe(0)
  })

  test.each([
    ['approve', 0, /^approved: dev@example\.test has write[^]*connect: sally connect orders-db/],
    ['deny', 3, /denied by lead@example\.test: not today/],
  ] as const)('--wait ends with %s', async (verdict, code, words) => {
    const waiting = asDev(...write, '--wait')
    const [request] = await askedOnce()
    asking.decide(request!.id, verdict, 'not today')
    const run = await waiting
    expect(run.code).toBe(code)
    expect(run.stdout).toMatch(words)
    expect(run.stderr).toContain('waiting for 1 more yes of leads')
    expect(run.stderr).toContain(`lead@example.test said ${verdict === 'approve' ? 'yes' : 'no'}`)
  })

  test.each([
    ['expired', 8],
    ['withdrawn', 1],
    ['denied', 3],
  ] as const)(
    '--wait of a request that is %s exits with %i, also with --json',
    async (state, code) => {
      const waiting = asDev(...write, '--wait', '--json')
      const [request] = await askedOnce()
      asking.requests.set(request!.id, { ...request!, state })
      const run = await waiting
      expect(run).toMatchObject({ code, stderr: '' })
      expect(requestOf(run)).toMatchObject({ id: request!.id, state })
    },
  )

  test('--wait again waits for what was asked already, through an outage of control', async () => {
    const first = requestOf(await asDev(...write, '--json'))
    expect((await asDev(...write)).code).toBe(7)
    const { request } = asking.handlers
    let lost = 0
    api.handlers = {
      ...api.handlers,
      request: (call) => {
        lost += 1
        if (lost > 1) return request!(call)
        throw new SallyportError('store-unavailable', 'gone', { clientMessage: 'gone' })
      },
    }
    const waiting = asDev(...write, '--wait', '--json')
    await eventually(
      () => lost,
      (count) => count > 1,
    )
    asking.decide(first.id, 'approve', '')
    const run = await waiting
    expect(run.code).toBe(0)
    expect(requestOf(run).id).toBe(first.id)
  })
})

describe('deciding', () => {
  test('lists, and says how to decide', async () => {
    expect((await asDev('requests')).stdout).toContain('sally request RESOURCE')
    expect((await asLead('requests', '--decide')).stdout).toContain('no requests for you')
    const { id } = requestOf(await asDev(...write, '--json'))
    const mine = await asDev('requests', '--mine')
    expect(mine.stdout).toMatch(
      /dev@example\.test +orders-db +write +1h +pending +restock +1 more yes of leads/,
    )
    asking.requests.set(id, { ...asking.requests.get(id)!, mine: 'decide' })
    const toDecide = await asLead('requests', '--decide')
    expect(toDecide.stdout).toContain('your turn')
    expect(toDecide.stderr).toContain('sally approve REQUEST')
    await asLead('requests', '--all', '--json')
    expect(
      api.calls.filter(({ name }) => name === 'requests').map(({ query }) => query),
    ).toMatchObject([
      { mine: 'all', state: 'pending' },
      { mine: 'decide', state: 'pending' },
      { mine: 'asked', state: 'all' },
      { mine: 'decide', state: 'pending' },
      { mine: 'all', state: 'all' },
    ])
    expect((await asLead('requests', '--decide', '--mine')).code).toBe(2)
  })

  test('a yes, for less; a yes to oneself names who can', async () => {
    const { id } = requestOf(await asDev(...write, '--json'))
    const self = await asDev('approve', id)
    expect(self.code).toBe(3)
    expect(self.stderr).toMatch(/own request[^]*who may decide it: leads, with: sally approve/)
    const options = ['--for', '5m', '--level', 'read', '--comment', 'short']
    const yes = await asLead('approve', id.slice(0, 8), ...options)
    expect(yes.stdout).toContain('approved: dev@example.test has write')
    expect(yes.stderr).toContain('sally connect orders-db')
    expect(api.calls.filter(({ name }) => name === 'requestApprove').at(-1)!.body).toEqual({
      forMs: 300_000,
      level: 'read',
      comment: 'short',
    })
  })

  test('a no needs a comment; a request is withdrawn', async () => {
    const { id } = requestOf(await asDev(...write, '--json'))
    expect((await asLead('deny', id)).code).toBe(2)
    const no = await asLead('deny', id, '--comment', 'ask tomorrow')
    expect(no.stdout).toMatch(/^denied: dev@example\.test asked for write on orders-db for 1h/)
    const again = requestOf(await asDev(...write, '--json'))
    expect((await asDev('withdraw', again.id)).stdout).toContain('withdrawn: write on orders-db')
    expect(JSON.parse((await asDev('withdraw', again.id, '--json')).stdout)).toMatchObject({
      state: 'withdrawn',
    })
  })
})

describe('grants of one’s own', () => {
  test('extend asks through the flow', async () => {
    await asDev('request', 'orders-db', '--level', 'read')
    const [grant] = asking.grants.values()
    const line = ['extend', grant!.id, '--for', '30m', '--reason', 'x']
    expect((await asDev(...line)).stdout).toMatch(/^extended: .* \(in 1h (29|30)m/)
    expect(JSON.parse((await asDev(...line, '--json')).stdout)).toMatchObject({
      request: { kind: 'extension' },
      grant: { revision: 2 },
    })
    expect(api.calls.some(({ name }) => name === 'grantExtend')).toBe(false)
  })

  test('give-back takes a grant or all of a resource', async () => {
    for (let count = 0; count < 3; count += 1)
      await asDev('request', 'orders-db', '--level', 'read')
    const [first] = asking.grants.values()
    expect((await asDev('give-back', first!.id)).stdout).toContain('given back: read on orders-db')
    const rest = await asDev('give-back', 'orders-db', '--json')
    expect(JSON.parse(rest.stdout)).toMatchObject({ items: { length: 2 }, next: null })
    const none = await asDev('give-back', 'orders-db')
    expect(none.code).toBe(4)
    expect(none.stderr).toContain('sally grants --mine')
  })
})

describe('why', () => {
  test('grants, requests and ways, each with its command', async () => {
    const fresh = await asDev('why', 'orders-db')
    expect(fresh.stdout).toMatch(
      /you cannot reach orders-db now[^]*read +automatic[^]*write +1 of leads/,
    )
    expect(fresh.stdout).toContain('→ sally request orders-db --level read --wait')
    await asDev('request', 'orders-db', '--level', 'read')
    const { id } = requestOf(await asDev(...write, '--json'))
    const later = await asDev('why', 'orders-db')
    expect(later.stdout).toMatch(
      /^you have read until .*\n +→ sally connect orders-db --level read\n/,
    )
    expect(later.stdout).toContain(`→ sally withdraw ${id}`)
    expect(later.stdout).toContain('→ sally request orders-db --level write --reason TEXT --wait')
    expect(JSON.parse((await asDev('why', 'orders-db', '--json')).stdout)).toMatchObject({
      grants: [{ level: 'read' }],
      pending: [{ id }],
    })
  })

  test('what is not there, or not for you, is not found', async () => {
    const run = await asDev('why', 'payroll-db')
    expect(run.code).toBe(4)
    expect(run.stderr).toContain('sally resources')
  })

  test('connect without a grant says what to ask for, and what waits', async () => {
    const unreached = { ...ordersDb, reach: [] }
    api.handlers = { ...api.handlers, resources: () => ({ items: [unreached], next: null }) }
    const run = await asDev('connect', 'orders-db', '--level', 'write')
    expect(run.code).toBe(3)
    expect(run.stderr).toMatch(
      /you have no live grant on "orders-db" at level write\n.*sally request orders-db --level write --reason TEXT --wait/,
    )
    await asDev(...write)
    const waiting = await asDev('connect', 'orders-db', '--level', 'write')
    expect(waiting.stderr).toMatch(/waits for 1 more yes of leads: sally requests --mine/)
    expect((await asDev('connect', 'orders-db')).stderr).toContain('waits for')
  })
})

describe('flows', () => {
  const good = `flows:
  - name: write-flow
    who: { groups: [engineers] }
    resources: { tags: { environment: demo } }
    levels: [write]
    duration: { longest: 2h }
    approval: { kind: people, count: 1, from: { groups: [leads] } }
`
  test('list, apply and test', async () => {
    const list = await asLead('flows')
    expect(list.stdout).toMatch(
      /write-flow +engineers +environment=demo +write +2h +1 of leads +required/,
    )
    expect(list.stdout).toMatch(/version 2 by admin@example\.test/)
    expect((await asLead('flows', 'list')).stdout).toContain('write-flow')
    const file = join(scratch, 'flows.yaml')
    writeFileSync(file, good)
    expect((await asLead('flows', 'apply', file, '--dry-run')).stdout).toContain('+ write-flow')
    expect((await asLead('flows', 'apply', file)).code).toBe(2)
    const applied = await asLead('flows', 'apply', file, '--yes', '--json')
    expect(JSON.parse(applied.stdout)).toMatchObject({ applied: true, version: 2 })
    expect(api.calls.at(-1)!.body).toMatchObject({ dryRun: false, expectedVersion: 2 })
    const tested = await asLead('flows', 'test', dev.email, 'orders-db', '--level', 'write')
    expect(tested.stdout).toMatch(/write +1 of leads +8h +1h +required +write-flow/)
    expect(tested.code).toBe(0)
    const none = await asLead('flows', 'test', dev.email, 'orders-db', '--level', 'admin')
    expect(none).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('no flow lets them') as string,
    })
  })

  test('mistakes are named with their line and column', async () => {
    const mistakes: [string, string][] = [
      [good.replace('2h', '2 hours'), '6:26 flows[0].duration.longest'],
      [good.replace('levels', 'lefels'), '5:5 flows[0].lefels'],
      [good + good.slice(good.indexOf('  -')), '8:11 flows[1].name'],
    ]
    for (const [text, place] of mistakes) {
      const run = await runSally(['flows', 'apply', '-', '--dry-run'], {
        home: leadHome,
        input: text,
      })
      expect(run.code).toBe(2)
      expect(run.stderr).toContain(place)
    }
    expect(api.calls).toEqual([])
  })
})

describe('pg-service', () => {
  const run = (file: string, ...more: string[]): Promise<SallyRun> =>
    runSally(['pg-service', ...more], { home: devHome, environment: { PGSERVICEFILE: file } })
  const section = (): string =>
    [
      '[orders-db]',
      'host=orders-db.access.localhost',
      'hostaddr=127.0.0.1',
      'port=15432',
      'dbname=shop',
      'user=~orders-db',
      'sslmode=verify-full',
      `sslrootcert=${devHome}/ca.pem`,
      `sslcert=${devHome}/cert.pem`,
      `sslkey=${devHome}/key.pk8`,
    ].join('\n')

  test('prints, or writes once and again the same', async () => {
    const file = join(scratch, 'fresh.conf')
    expect((await run(file)).stdout).toBe(`${section()}\n`)
    expect(existsSync(file)).toBe(false)
    expect((await run(file, '--write')).stdout).toContain(`1 service in ${file}`)
    const first = readFileSync(file, 'utf8')
    expect(first).toContain(section())
    expect(statSync(file).mode & 0o777).toBe(0o600)
    await run(file, '--write')
    expect(readFileSync(file, 'utf8')).toBe(first)
  })

  test('keeps what others wrote, around it and under the same name, and follows a link', async () => {
    const real = join(scratch, 'real.conf')
    const link = join(scratch, 'link.conf')
    writeFileSync(real, '# mine\n[other]\nhost=elsewhere', { mode: 0o640 })
    symlinkSync(real, link)
    await run(link, '--write')
    writeFileSync(real, `${readFileSync(real, 'utf8')}[last]\nhost=end\n`)
    await run(link, '--write')
    const text = readFileSync(real, 'utf8')
    expect(text).toMatch(
      /^# mine\n\[other\]\nhost=elsewhere\n\n# sallyport[^]*\[last\]\nhost=end\n$/,
    )
    expect(text.match(/\[orders-db\]/g)).toHaveLength(1)
    expect(statSync(real).mode & 0o777).toBe(0o640)
    writeFileSync(real, '[orders-db]\nhost=theirs\n')
    const taken = await run(link, '--write', '--json')
    expect(JSON.parse(taken.stdout)).toMatchObject({ written: true, taken: ['orders-db'] })
    expect(readFileSync(real, 'utf8')).toMatch(
      /^\[orders-db\]\nhost=theirs\n\n# sally.*\n# sally.*\n$/,
    )
  })

  test('a file that is not UTF-8 is left as it is, to the byte', async () => {
    const file = join(scratch, 'latin1.conf')
    const bytes = Buffer.from('# caf\u00e9\n[other]\nhost=elsewhere\n', 'latin1')
    writeFileSync(file, bytes)
    const refused = await run(file, '--write')
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain('it was left alone')
    expect(readFileSync(file).equals(bytes)).toBe(true)
  })

  test('a block that was torn is not guessed at', async () => {
    const file = join(scratch, 'torn.conf')
    await run(file, '--write')
    const torn = readFileSync(file, 'utf8').replace('# sallyport: end\n', '')
    writeFileSync(file, torn)
    const refused = await run(file, '--write')
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/torn\.conf:1 begins[^]*# sallyport: end/)
    expect(readFileSync(file, 'utf8')).toBe(torn)
  })
})
