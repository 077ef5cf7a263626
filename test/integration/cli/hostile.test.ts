/** What others could do to somebody who uses `sally`: through files, through texts of the API, through what it starts. */
import { generateKeyPairSync } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { AccessRequest } from '../../../control/api/request.ts'
import { resourceView } from '../../../control/api/shapes.ts'
import { homeConfig } from '../../../control/cli/home.ts'
import { writeHome } from '../../../control/cli/write-home.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { startAsking, ways } from '../../fakes/requests.ts'
import { activity, dev, ordersDb, session, shopHandlers } from '../../fakes/shop.ts'
import { runSally } from '../../run-sally.ts'

let api: FakeApi
let usual: FakeHandlers
let scratch: string
let home: string
let count = 0

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-hostile-'))
  usual = await shopHandlers()
  api = await startFakeApi(usual)
})
beforeEach(async () => {
  api.handlers = usual
  api.calls.length = 0
  home = await makeHome(api, join(scratch, `home-${(count += 1)}`))
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

describe('files', () => {
  test.each([
    ['the home itself', '', 0o777, 'chmod 700'],
    ['the home, by a group', '', 0o770, 'chmod 700'],
    ['whom to talk to', 'config.json', 0o666, 'chmod 600'],
    ['whom to trust as control', 'control-ca.pem', 0o622, 'chmod 600'],
    ['whom to trust as a proxy', 'ca.pem', 0o660, 'chmod 600'],
    ['who one is', 'cert.pem', 0o646, 'chmod 600'],
  ])('a home where others can change %s is refused', async (_, name, mode, mend) => {
    chmodSync(join(home, name), mode)
    for (const commandLine of [['whoami'], ['connect', 'orders-db', '--json']]) {
      const refused = await runSally(commandLine, { home })
      expect(refused.code).toBe(2)
      expect(refused.stderr).toContain(mend)
    }
    expect(api.calls).toEqual([])
  })

  // Only root can give files away.
  if (process.getuid?.() === 0) {
    test('so is one that belongs to somebody else', async () => {
      chownSync(join(home, 'config.json'), 12_345, 0)
      const refused = await runSally(['whoami'], { home })
      expect(refused.code).toBe(2)
      expect(refused.stderr).toContain('belongs to somebody else')
    })
  }

  test('a home is not made where others could change it, and links in it lead nowhere', () => {
    const config = homeConfig.parse(
      JSON.parse(readFileSync(join(home, 'config.json'), 'utf8')) as unknown,
    )
    const issued = {
      certificatePem: 'certificate',
      serverAuthoritiesPem: 'authorities',
      controlAuthorityPem: 'authority',
    }
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const trap = join(scratch, 'trap')
    mkdirSync(trap)
    chmodSync(trap, 0o777)
    expect(() => writeHome(trap, config, key, issued)).toThrow('others may change')
    expect(readdirSync(trap)).toEqual([])
    chmodSync(trap, 0o700)
    const victim = join(scratch, 'victim')
    writeFileSync(victim, 'precious')
    for (const name of [
      'key.pem',
      'key.pk8',
      'cert.pem',
      'ca.pem',
      'control-ca.pem',
      'config.json',
    ]) {
      symlinkSync(victim, join(trap, name))
    }
    writeHome(trap, config, key, issued)
    expect(readFileSync(victim, 'utf8')).toBe('precious')
    for (const name of readdirSync(trap)) {
      expect(lstatSync(join(trap, name)).isFile(), name).toBe(true)
      expect(statSync(join(trap, name)).mode & 0o777, name).toBe(0o600)
    }
  })

  test('compiled code is not kept where others could change it', async () => {
    const cache = join(scratch, 'cache')
    const code = join(cache, 'sallyport', 'code')
    mkdirSync(code, { recursive: true })
    const start = () => runSally(['--version'], { environment: { XDG_CACHE_HOME: cache } })
    chmodSync(code, 0o777)
    expect((await start()).code).toBe(0)
    expect(readdirSync(code)).toEqual([])
    chmodSync(code, 0o700)
    expect((await start()).code).toBe(0)
    expect(readdirSync(code)).not.toEqual([])
  })

  test('an export replaces a link, and is written through none', async () => {
    const victim = join(scratch, 'other')
    writeFileSync(victim, 'precious')
    const file = join(scratch, 'export.jsonl')
    symlinkSync(victim, file)
    symlinkSync(victim, `${file}.partial`)
    expect((await runSally(['audit', 'export', '--output', file], { home })).code).toBe(0)
    expect(readFileSync(victim, 'utf8')).toBe('precious')
    expect(lstatSync(file).isFile()).toBe(true)
  })
})

/** Clears the screen, sets a title, turns text around, and forges a line. */
const escape = '\u001b[2J\u001b]0;owned\u0007\u009b31m\u202e\u2066\r\nerror: forged'
const grantId = '0190aaaa-bbb1-7000-8000-000000000001'

/** Control characters, and those that hide or reorder text. */
const hostile = /[\p{Cc}\p{Cf}]/u

describe('texts', () => {
  const person = { ...dev, name: escape, groups: ['plain'] }
  const resource = {
    ...ordersDb,
    description: escape,
    owner: escape,
    tags: { database: 'shop', [`t${escape}`]: escape },
  }
  const statement = {
    ...activity,
    text: escape,
    preparedName: escape,
    parameters: [{ form: 'text' as const, value: escape }],
    outcome: {
      ...activity.outcome!,
      status: 'error' as const,
      errorCode: escape,
      errorText: escape,
    },
  }
  const closed = {
    ...session,
    state: 'closed' as const,
    closedAtMs: session.openedAtMs + 1,
    endReason: escape,
    account: escape,
    remoteAddress: escape,
    attributes: { application: escape },
    cut: { reason: escape, orderedAtMs: 1, lastByteAtMs: 2, closedAtMs: 3 },
  }

  test.each([
    [['whoami']],
    [['resources']],
    [['grants']],
    [['people', 'list']],
    [['people', 'revoke', dev.email, '--reason', 'x']],
    [['sessions']],
    [['sessions', 'watch', session.id]],
    [['audit', 'search']],
    [['requests', '--all']],
    [['request', 'orders-db', '--level', 'write', '--reason', 'x', '--wait']],
    [['why', 'orders-db']],
    [['flows']],
    [['audit', 'actions']],
    [['proxy', 'list']],
    [['grant', dev.email, 'orders-db', '--level', 'read', '--for', '1m', '--reason', 'x']],
    [['revoke', grantId, '--reason', 'x']],
  ])('of others do nothing to the terminal: %j', async (commandLine) => {
    const { whoami, grants, grant, grantMake, auditActions, groups } = usual
    const asking = startAsking()
    const named = { people: [], groups: ['leads\u202e\u2066'] }
    const denied = (request: AccessRequest): AccessRequest => ({
      ...request,
      reason: escape,
      approvers: named,
      state: 'denied',
      decisions: [
        {
          ...{ personId: dev.id, personEmail: 'lead@example.test', verdict: 'deny', level: null },
          ...{ forMs: null, comment: escape, atMs: 1, remoteAddress: escape },
        },
      ],
    })
    const made: NonNullable<FakeHandlers['requestMake']> = (call) => {
      asking.requests.clear()
      return asking.handlers.requestMake!(call)
    }
    api.handlers = {
      ...usual,
      ...asking.handlers,
      requestMake: async (call) => {
        const { request, grant: none } = await made(call)
        return { request: { ...request, approvers: named }, grant: none }
      },
      request: async (call) => denied(await asking.handlers.request!(call)),
      requests: async (call) => {
        const { request } = await made({ ...call, body: { level: 'write', reason: '' } })
        return { items: [denied(request)], next: null }
      },
      why: () => ({
        resource: 'orders-db',
        grants: [],
        pending: [],
        ways: ways.map((way) => ({ ...way, approvers: named })),
      }),
      flows: async (call) => {
        const shown = await asking.handlers.flows!(call)
        const flows = shown.flows.map((flow) => ({ ...flow, description: escape, who: named }))
        return { ...shown, author: escape, flows }
      },
      whoami: async (call) => ({ ...(await whoami!(call)), person }),
      people: () => ({ items: [person], next: null }),
      personRevoke: () => person,
      resources: () => ({ items: [resource], next: null }),
      grants: async (call) => {
        const { items } = await grants!(call)
        const texts = { reason: escape, revokeReason: escape }
        return { items: items.map((each) => ({ ...each, ...texts })), next: null }
      },
      grant: async (call) => ({ ...(await grant!(call)), reason: escape }),
      grantMake: async (call) => ({ ...(await grantMake!(call)), reason: escape }),
      sessions: () => ({ items: [closed], next: null }),
      session: () => closed,
      sessionWatch: () => ({ session: closed, items: [statement], next: 'x', ended: true }),
      auditSearch: () => ({ items: [statement], next: null, indexLagMs: 0 }),
      auditActions: async (call) => {
        const { items } = await auditActions!(call)
        const texts = { action: escape, target: escape, details: { reason: escape } }
        return { items: items.map((each) => ({ ...each, ...texts })), next: null }
      },
      groups: async (call) => {
        const { items } = await groups!(call)
        const proxies = items[0]!.proxies.map((each) => ({ ...each, name: escape }))
        return { items: [{ ...items[0]!, proxies }] }
      },
    }
    for (const more of [[], ['--json']]) {
      const shown = await runSally([...commandLine, ...more], { home })
      // A denial is told by the code.
      expect(shown.code, shown.stderr).toBe(commandLine[0] === 'request' ? 3 : 0)
      const all = `${shown.stdout}${shown.stderr}`
      expect(all.replaceAll('\n', '')).not.toMatch(hostile)
      expect(all).not.toMatch(/^error: forged/m)
    }
  })
})

describe('what sally starts', () => {
  test.each([
    ['a list of hosts', 'orders-db.access.localhost,evil.example'],
    ['a socket', '/tmp/evil'],
    ['an abstract socket', '@evil'],
    ['options', 'a.b options=-cfoo'],
  ])('is led to no other place by a host name that is %s', (_, hostname) => {
    // Answers are parsed with the shapes of the routes before anything is done with them.
    expect(resourceView.safeParse(ordersDb).success).toBe(true)
    expect(resourceView.safeParse({ ...ordersDb, hostname }).success).toBe(false)
  })

  test('takes the tag of a resource as the name of a database, whatever is in it', async () => {
    const marker = join(scratch, 'marker')
    for (const database of [
      'postgresql://127.0.0.9:1/x',
      'shop host=127.0.0.9 port=1',
      'shop;PGHOST=127.0.0.9',
      `$(touch ${marker})`,
      '-c\\!touch',
      "'; \\! touch x",
    ]) {
      const tags = { database, PGHOST: '127.0.0.9', LD_PRELOAD: '/tmp/evil.so' }
      api.handlers = { ...usual, resources: () => ({ items: [{ ...ordersDb, tags }], next: null }) }
      const { stdout } = await runSally(['connect', 'orders-db', '--json'], { home })
      const { command, env } = JSON.parse(stdout) as {
        command: string[]
        env: Record<string, string>
      }
      expect(command).toEqual(['psql'])
      expect(env).toMatchObject({ PGHOST: 'orders-db.access.localhost', PGDATABASE: database })
      expect(env).not.toHaveProperty('LD_PRELOAD')
      // libpq expands a connection string in its arguments, not in PGDATABASE.
      const run = await runSally(['connect', 'orders-db', '--', '-c', 'select 1'], { home })
      expect(run.code).toBe(2)
      expect(run.stderr).toContain('port 6432')
      expect(run.stderr).not.toContain('127.0.0.9')
      expect(existsSync(marker)).toBe(false)
    }
  })
})
