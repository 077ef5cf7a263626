/** `sally ssh-config`: what OpenSSH makes of it, and that what was in ~/.ssh/config stays as it was. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
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
import { makeHome, startFakeApi, type FakeApi } from '../../fakes/api.ts'
import { shopHandlers } from '../../fakes/shop.ts'
import { createSshLogins, type SshLogins } from '../../fakes/ssh-login.ts'
import { runSally, type SallyRun } from '../../run-sally.ts'

let api: FakeApi
let logins: SshLogins
let scratch: string
let home: string
/** As HOME. */
let user: string
let file: string
let count = 0

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-ssh-config-'))
  logins = createSshLogins(() => api)
  api = await startFakeApi({ ...(await shopHandlers()), ...logins.handlers })
  home = await makeHome(api, join(scratch, 'a home'), { sshPort: 12_222 })
  const run = await runSally(['login', '--refresh'], { home })
  expect(run.code, run.stderr).toBe(0)
})
beforeEach(() => {
  user = join(scratch, `user-${(count += 1)}`)
  mkdirSync(user)
  file = join(user, '.ssh', 'config')
})
afterAll(async () => {
  await api?.close()
  rmSync(scratch, { recursive: true, force: true })
})

const sally = (words: string[] = [], sallyHome = home): Promise<SallyRun> =>
  runSally(['ssh-config', ...words], { home: sallyHome, environment: { HOME: user } })
async function write(): Promise<{ added: boolean; include: string; config: string }> {
  const run = await sally(['--write', '--json'])
  expect(run.code, run.stderr).toBe(0)
  return JSON.parse(run.stdout) as { added: boolean; include: string; config: string }
}
function existing(content: string | Buffer): void {
  mkdirSync(join(user, '.ssh'), { mode: 0o700 })
  writeFileSync(file, content, { mode: 0o600 })
}
/** What ssh would do for a host, in its own words. */
function resolved(host: string, configuration = file): Map<string, string> {
  const text = execFileSync('ssh', ['-F', configuration, '-G', host], {
    encoding: 'utf8',
    stdio: 'pipe',
  })
  return new Map(
    text.split('\n').map((line) => {
      const [key = '', ...rest] = line.split(' ')
      return [key, rest.join(' ')] as const
    }),
  )
}

describe('what ssh makes of it', () => {
  test('the proxy by its address, resources through it, the home’s key and nothing else', async () => {
    expect((await write()).added).toBe(true)
    const proxy = resolved('access.localhost')
    expect(proxy.get('hostname')).toBe('127.0.0.1')
    expect(proxy.get('port')).toBe('12222')
    expect(proxy.get('hostkeyalias')).toBe('access.localhost')
    expect(proxy.has('proxyjump')).toBe(false)
    const resource = resolved('web1.access.localhost')
    expect(resource.get('hostname')).toBe('web1.access.localhost')
    expect(resource.get('proxyjump')).toBe('access.localhost')
    for (const one of [proxy, resource]) {
      expect(one.get('user')).toBe('sallyport')
      expect(one.get('identitiesonly')).toBe('yes')
      expect(one.get('identityfile')).toBe(join(home, 'ssh', 'id_ed25519'))
      expect(one.get('certificatefile')).toBe(join(home, 'ssh', 'id_ed25519-cert.pub'))
      expect(one.get('userknownhostsfile')).toBe(join(home, 'ssh', 'known_hosts'))
      expect(one.get('stricthostkeychecking')).toBe('true')
      expect(one.get('serveraliveinterval')).toBe('30')
    }
    expect(resolved('deploy@web1.access.localhost').get('user')).toBe('deploy')
    const other = resolved('elsewhere.test')
    expect(other.get('identitiesonly')).toBe('no')
    expect(other.get('userknownhostsfile')).not.toContain(home)
  })

  test('what a user’s own Host * says does not reach ours', async () => {
    existing('Host *\n  Port 2200\n  User me\n  StrictHostKeyChecking no\n  ForwardAgent yes\n')
    await write()
    const resource = resolved('web1.access.localhost')
    expect(resource.get('port')).toBe('22')
    expect(resource.get('user')).toBe('sallyport')
    expect(resource.get('stricthostkeychecking')).toBe('true')
    // What we have no opinion on is the user's.
    expect(resource.get('forwardagent')).toBe('yes')
    expect(resolved('elsewhere.test').get('port')).toBe('2200')
  })

  test('without --write it is printed, and nothing of the user’s is touched', async () => {
    const run = await sally()
    expect(run.code, run.stderr).toBe(0)
    expect(existsSync(file)).toBe(false)
    const printed = join(user, 'printed')
    writeFileSync(printed, run.stdout)
    expect(resolved('web1.access.localhost', printed).get('proxyjump')).toBe('access.localhost')
    expect(run.stderr).toContain('sally ssh-config --write')
    expect((await sally(['--write', '--print'])).stdout).toContain('ProxyJump access.localhost')
  })

  test('hosts are known as control says now; without control as at the sign-in', async () => {
    const before = logins.hosts
    logins.hosts = [`${before[0]} a comment\n* ssh-ed25519 AAAA`]
    await write()
    const known = readFileSync(join(home, 'ssh', 'known_hosts'), 'utf8')
    expect(known).toBe(
      `@cert-authority access.localhost,*.access.localhost,[access.localhost]:*,[*.access.localhost]:* ${before[0]}\n`,
    )
    logins.hosts = before
    const config = join(home, 'config.json')
    const text = readFileSync(config, 'utf8')
    writeFileSync(config, text.replace(api.url, 'https://127.0.0.1:1'))
    const run = await sally(['--write'])
    writeFileSync(config, text)
    expect(run.code).toBe(0)
    expect(run.stderr).toContain('as at the last sign-in')
  })
})

describe('the user’s file', () => {
  test('twice is once; modes are those that ssh wants', async () => {
    const { include, config } = await write()
    const first = readFileSync(file)
    expect(first.toString()).toContain(`${include}\n`)
    expect((await write()).added).toBe(false)
    expect(readFileSync(file)).toEqual(first)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(join(user, '.ssh')).mode & 0o777).toBe(0o700)
    expect(statSync(config).mode & 0o777).toBe(0o600)
    expect((await sally(['--write'])).stdout).toContain('already')
  })

  test.each([
    ['a foreign stanza', Buffer.from('Host old\n\tHostName 10.0.0.1\n')],
    ['no newline at its end', Buffer.from('Host old\n\tHostName 10.0.0.1')],
    ['CRLF', Buffer.from('# mine\r\nHost old\r\n  HostName 10.0.0.1\r\n')],
    [
      'bytes that are no text',
      Buffer.from([0x23, 0xff, 0xfe, 0x00, 0x0a, ...Buffer.from('Host old\n HostName 10.0.0.1\n')]),
    ],
    [
      'an include of ours inside of a Host',
      Buffer.from('Host old\n  HostName 10.0.0.1\n  Include "HOME/ssh/config"\n'),
    ],
  ])('%s stays as it is, byte for byte', async (_, given) => {
    const content = Buffer.from(given.toString('latin1').replace('HOME', home), 'latin1')
    existing(content)
    chmodSync(file, 0o640)
    expect((await write()).added).toBe(true)
    const after = readFileSync(file)
    expect(after.subarray(-content.length)).toEqual(content)
    expect(statSync(file).mode & 0o777).toBe(0o640)
    expect((await write()).added).toBe(false)
    expect(readFileSync(file)).toEqual(after)
    expect(resolved('web1.access.localhost').get('proxyjump')).toBe('access.localhost')
    if (!content.includes(0)) expect(resolved('old').get('hostname')).toBe('10.0.0.1')
  })

  test('a line that is there already, however it is written, is enough', async () => {
    existing(`# mine\n  include = other "${home}/ssh/config"\nHost *\n`)
    expect((await write()).added).toBe(false)
  })

  test('a link stays a link, and what it leads to is changed', async () => {
    const real = join(user, 'dotfiles')
    writeFileSync(real, '# in git\n', { mode: 0o600 })
    mkdirSync(join(user, '.ssh'))
    symlinkSync(real, file)
    await write()
    expect(lstatSync(file).isSymbolicLink()).toBe(true)
    expect(readFileSync(real, 'utf8')).toMatch(/Include "[^]*# in git\n$/)
  })

  test.each<[string, () => void]>([
    ['a link that leads nowhere', () => symlinkSync(join(user, 'gone'), file)],
    ['a directory', () => mkdirSync(file)],
    ['too large', () => writeFileSync(file, Buffer.alloc(5 * 1024 * 1024, '#'))],
  ])('%s is left alone, and the line to add is said', async (_, make) => {
    mkdirSync(join(user, '.ssh'))
    make()
    const run = await sally(['--write'])
    expect(run.code).toBe(2)
    expect(run.stderr).toMatch(/was left alone[^]*Include "/)
  })

  test('a HOME whose .ssh is a file, too', async () => {
    writeFileSync(join(user, '.ssh'), 'no directory')
    const run = await sally(['--write'])
    expect(run.code).toBe(2)
    expect(run.stderr).toMatch(/was left alone[^]*Include "/)
    expect(readFileSync(join(user, '.ssh'), 'utf8')).toBe('no directory')
  })
})

describe('what cannot be written down', () => {
  test('a home that knows no port of SSH says how to learn it', async () => {
    const old = await makeHome(api, join(scratch, 'old'))
    const run = await sally(['--write'], old)
    expect(run.code).toBe(2)
    expect(run.stderr).toMatch(/does not say which port[^]*sally login --refresh/)
    expect(existsSync(file)).toBe(false)
  })

  test.each(['a"b', 'a%hb', 'a$b', 'a*b', "a'b"])(
    'a path that ssh reads otherwise: %s',
    async (name) => {
      const odd = await makeHome(api, join(scratch, name), { sshPort: 22 })
      const run = await sally(['--write'], odd)
      expect(run.code).toBe(2)
      expect(run.stderr).toContain('cannot be written into a configuration of ssh')
      expect(existsSync(file)).toBe(false)
    },
  )

  test.each([
    ['domain', 'a b'],
    ['domain', 'x\nHost *'],
    ['proxyHost', '-oProxyCommand=x'],
    ['proxyHost', '%h'],
  ])('a %s that is none: %j', async (key, value) => {
    const bad = await makeHome(api, join(scratch, `bad-${(count += 1)}`), { sshPort: 22 })
    const config = join(bad, 'config.json')
    const json = JSON.parse(readFileSync(config, 'utf8')) as object
    writeFileSync(config, JSON.stringify({ ...json, [key]: value }), { mode: 0o600 })
    const run = await sally([], bad)
    expect(run.code).toBe(2)
    expect(run.stdout).toBe('')
  })
})
