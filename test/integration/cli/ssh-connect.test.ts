/** `sally connect` and `sally ssh-config` to a resource of SSH: OpenSSH's own client through the engine to a real sshd. */
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Why } from '../../../control/api/request.ts'
import type { ResourceView } from '../../../control/api/shapes.ts'
import { makeHome, startFakeApi, type FakeApi } from '../../fakes/api.ts'
import { makeGrant, ordersDb, shopHandlers } from '../../fakes/shop.ts'
import { createSshLogins, type SshLogins } from '../../fakes/ssh-login.ts'
import { ranToEnd, type Ran } from '../../ran-to-end.ts'
import { startSshSite, type SshSite } from '../../fakes/ssh-site.ts'
import { startSshd, type SshdSite } from '../../fakes/sshd-site.ts'
import { runSally, type SallyRun } from '../../run-sally.ts'

const web1: ResourceView = {
  ...ordersDb,
  ...{ name: 'web1', protocol: 'ssh', hostname: 'web1.access.localhost' },
  ...{ levels: ['read', 'admin'], reach: ['read', 'admin'], tags: {} },
}

let sshd: SshdSite
let site: SshSite
let api: FakeApi
let logins: SshLogins
let scratch: string
let home: string
/** As HOME. */
let user: string

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-ssh-connect-'))
  sshd = await startSshd()
  site = await startSshSite(sshd)
  logins = createSshLogins(() => api)
  logins.hosts = [readFileSync(join(site.folder, 'host-ca.pub'), 'utf8').trim()]
  logins.sshPort = site.server.port
  api = await startFakeApi({ ...(await shopHandlers()), ...logins.handlers })
  home = await makeHome(api, join(scratch, 'home'))
  user = join(scratch, 'user')
  mkdirSync(user)
  const run = await sally('login', '--refresh')
  expect(run.code, run.stderr).toBe(0)
})
beforeEach(() => {
  api.handlers = { ...api.handlers, resources: () => ({ items: [ordersDb, web1], next: null }) }
})
afterAll(async () => {
  await api?.close()
  await site?.close()
  await sshd?.stop()
  rmSync(scratch, { recursive: true, force: true })
})

const sally = (...words: string[]): Promise<SallyRun> =>
  runSally(words, { home, environment: { HOME: user } })
interface Invocation {
  command: string[]
  env: Record<string, string>
}
async function invocation(...words: string[]): Promise<Invocation> {
  const run = await sally('connect', '--json', ...words)
  expect(run, run.stderr).toMatchObject({ code: 0, stderr: '' })
  return JSON.parse(run.stdout) as Invocation
}

describe('sally connect', () => {
  test('what ssh is told: our configuration, the level as the account, the caller’s words', async () => {
    const config = join(home, 'ssh', 'config')
    expect(await invocation('web1')).toEqual({
      command: ['ssh', '-F', config, 'web1.access.localhost'],
      env: {},
    })
    const words = ['web1.access.localhost', '--level', 'admin', '--', '-L', '8080:x:80', 'id']
    expect((await invocation(...words)).command).toEqual([
      'ssh',
      '-F',
      config,
      '-l',
      'admin',
      'web1.access.localhost',
      '-L',
      '8080:x:80',
      'id',
    ])
  })

  test('a command runs there, and its output, input and exit code are ours', async () => {
    const run = await runSally(['connect', 'web1', '--', 'cat; echo err >&2; exit 7'], {
      home,
      input: 'from our input',
    })
    expect(run).toMatchObject({ code: 7, stdout: 'from our input', stderr: 'err\n' })
    expect(site.gate.sessions.at(-1)?.records[0]).toMatchObject({ kind: 'command' })
  })

  test('without a grant ssh is not started, and the command that asks for one is said', async () => {
    const started = site.gate.sessions.length
    const way: Why['ways'][number] = {
      ...{ flow: 'web', level: 'read', approvalsNeeded: 1, reasonRequired: true },
      ...{
        longestMs: 3_600_000,
        defaultMs: 3_600_000,
        approvers: { people: [], groups: ['leads'] },
      },
    }
    api.handlers = {
      ...api.handlers,
      resources: () => ({ items: [{ ...web1, reach: [] }], next: null }),
      why: () => ({ resource: 'web1', grants: [], pending: [], ways: [way] }),
    }
    const run = await sally('connect', 'web1')
    expect(run.code).toBe(3)
    expect(run.stderr).toMatch(/no live grant on "web1"[^]*sally request web1 --level read/)
    expect(site.gate.sessions).toHaveLength(started)
    api.handlers = {
      ...api.handlers,
      why: () => ({
        ...{ resource: 'web1', pending: [], ways: [] },
        grants: [makeGrant('0190aaaa-bbb1-7000-8000-000000000001', { resource: 'web1' })],
      }),
    }
    expect((await sally('why', 'web1')).stdout).toContain('sally connect web1 --level read')
  })

  test('without control, --protocol says what control would have said', async () => {
    const lost = await makeHome({ ...api, url: 'https://127.0.0.1:1' }, join(scratch, 'lost'), {
      sshPort: site.server.port,
    })
    execFileSync('cp', ['-r', join(home, 'ssh'), lost])
    const words = ['connect', 'web1', '--json']
    const guessed = await runSally(words, { home: lost })
    expect((JSON.parse(guessed.stdout) as Invocation).command).toEqual(['psql'])
    const said = await runSally([...words, '--protocol', 'ssh'], { home: lost })
    expect((JSON.parse(said.stdout) as Invocation).command[0]).toBe('ssh')
    const run = await runSally(['connect', 'web1', '--protocol', 'ssh', '--', 'echo here'], {
      home: lost,
    })
    expect(run).toMatchObject({ code: 0, stdout: 'here\n' })
  })

  test('what cannot be: a database, a home without SSH, no ssh, another group’s host', async () => {
    expect((await sally('connect', 'web1', '--dbname', 'x')).stderr).toContain('has no databases')
    const none = await makeHome(api, join(scratch, 'none'), { sshPort: 22 })
    const unsigned = await runSally(['connect', 'web1'], { home: none })
    expect(unsigned.code).toBe(6)
    expect(unsigned.stderr).toMatch(/no SSH certificate[^]*sally login --refresh/)
    const missing = await runSally(['connect', 'web1'], {
      home,
      environment: { PATH: join(scratch, 'empty') },
    })
    expect(missing.code).toBe(1)
    expect(missing.stderr).toMatch(/ssh is not installed[^]*(openssh-client|brew)/)
    const hostname = 'web1.elsewhere.test'
    api.handlers = {
      ...api.handlers,
      resources: () => ({ items: [{ ...web1, hostname }], next: null }),
    }
    expect((await sally('connect', 'web1')).stderr).toContain('another group of proxies')
  })
})

describe('after sally ssh-config --write', () => {
  let file: string
  beforeAll(async () => {
    const run = await sally('ssh-config', '--write')
    expect(run.code, run.stderr).toBe(0)
    file = join(user, '.ssh', 'config')
  })
  const start = (program: string, ...words: string[]): Promise<Ran> => {
    const client = spawn(program, words, { env: { PATH: process.env['PATH'], HOME: user } })
    client.stdin.end()
    return ranToEnd(client)
  }

  test('ssh by name, with an account, and by ~', async () => {
    for (const host of [
      ...['web1.access.localhost', 'admin@web1.access.localhost'],
      'sallyport~web1@access.localhost',
    ]) {
      const ran = await start('ssh', '-F', file, host, 'echo here')
      expect(ran, host).toMatchObject({ code: 0, err: '' })
      expect(ran.out.toString()).toBe('here\n')
    }
  })

  test('scp, sftp, rsync and git bring over what there is', async () => {
    const here = join(scratch, 'here')
    const there = join(scratch, 'there')
    mkdirSync(here)
    mkdirSync(there)
    writeFileSync(join(there, 'file'), 'content')
    const host = 'web1.access.localhost'
    const scp = await start('scp', '-q', '-F', file, `${host}:${there}/file`, join(here, 'scp'))
    expect(scp, scp.err).toMatchObject({ code: 0 })
    const rsh = `ssh -F ${file}`
    const rsync = ['-e', rsh, `${host}:${there}/file`, join(here, 'rsync')]
    expect(await start('rsync', ...rsync)).toMatchObject({ code: 0 })
    for (const name of ['scp', 'rsync']) {
      expect(readFileSync(join(here, name), 'utf8'), name).toBe('content')
    }
    execFileSync('git', ['init', '-q', '--bare', join(there, 'repo.git')])
    const git = ['-c', `core.sshCommand=${rsh}`, 'ls-remote', `${host}:${there}/repo.git`]
    expect(await start('git', ...git)).toMatchObject({ code: 0 })
  })

  test('a proxy that shows a host key of another authority is not spoken to', async () => {
    const knownHosts = join(home, 'ssh', 'known_hosts')
    const before = readFileSync(knownHosts)
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(scratch, 'other')])
    const other = readFileSync(join(scratch, 'other.pub'), 'utf8')
    chmodSync(knownHosts, 0o600)
    writeFileSync(knownHosts, before.toString().replace(/ssh-ed25519 \S+/, other.trim()))
    const sessions = site.gate.sessions.length
    const ran = await start('ssh', '-F', file, 'web1.access.localhost', 'echo here')
    writeFileSync(knownHosts, before)
    expect(ran.code).toBe(255)
    expect(ran.err).toContain('Host key verification failed')
    expect(site.gate.sessions).toHaveLength(sessions)
  })
})

describe('sally doctor', () => {
  interface Found {
    checks: { name: string; state: string; detail: string; mend?: string }[]
  }
  async function check(name: string, environment: NodeJS.ProcessEnv = {}, sallyHome = home) {
    const options = { home: sallyHome, environment: { HOME: user, ...environment } }
    const run = await runSally(['doctor', '--json'], options)
    return (JSON.parse(run.stdout) as Found).checks.find((one) => one.name === name)
  }

  test('everything is well, down to a sign-in at the proxy', async () => {
    const run = await runSally(['doctor', '--json'], { home, environment: { HOME: user } })
    const checks = (JSON.parse(run.stdout) as Found).checks.filter(({ name }) => /ssh/i.test(name))
    expect(checks.map(({ name, state }) => `${name} ${state}`)).toEqual([
      ...['SSH certificate ok', 'ssh ok', 'ssh-config ok', 'SSH proxy ok'],
    ])
    expect(checks.at(-1)!.detail).toContain('it knows you')
  })

  test('each thing that is not, with what mends it', async () => {
    const nobody = { HOME: join(scratch, 'nobody') }
    expect(await check('ssh-config', nobody)).toMatchObject({
      ...{ state: 'warn', mend: expect.stringContaining('sally ssh-config --write') as string },
    })
    expect(await check('SSH agent', { SSH_AUTH_SOCK: join(scratch, 'gone') })).toMatchObject({
      state: 'warn',
    })
    expect(await check('ssh', { PATH: join(scratch, 'empty') })).toMatchObject({ state: 'fail' })
    const broken = join(scratch, 'broken')
    execFileSync('cp', ['-r', home, broken])
    const config = readFileSync(join(broken, 'config.json'), 'utf8')
    writeFileSync(join(broken, 'config.json'), config.replace(/"ssh": \d+/, '"ssh": 1'))
    writeFileSync(join(broken, 'ssh', 'id_ed25519.pub'), readFileSync(join(site.folder, 'id.pub')))
    expect(await check('SSH proxy', {}, broken)).toMatchObject({
      ...{ state: 'fail', detail: expect.stringContaining('refused') as string },
    })
    expect(await check('SSH certificate', {}, broken)).toMatchObject({
      ...{ state: 'fail', detail: 'it is not for the key beside it' },
    })
    writeFileSync(join(broken, 'config.json'), config)
    writeFileSync(join(broken, 'ssh', 'known_hosts'), '')
    expect(await check('SSH proxy', {}, broken)).toMatchObject({
      ...{ state: 'fail', detail: expect.stringContaining('has not certified') as string },
    })
  })
})
