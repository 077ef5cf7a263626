/** The SSH key of a home: what OpenSSH makes of it, who holds it, and when it goes. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { sshFingerprint } from '../../../protocols/kit/ssh-public-key.ts'
import { makeHome, startFakeApi, type FakeApi } from '../../fakes/api.ts'
import { shopHandlers } from '../../fakes/shop.ts'
import {
  createSshLogins,
  startAgent,
  type RunningAgent,
  type SshLogins,
} from '../../fakes/ssh-login.ts'
import { runSally, type SallyRun } from '../../run-sally.ts'

let api: FakeApi
let scratch: string
let home: string
let agent: RunningAgent
let logins: SshLogins
let count = 0

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-ssh-'))
  agent = await startAgent(scratch)
  logins = createSshLogins(() => api)
  api = await startFakeApi({ ...(await shopHandlers()), ...logins.handlers })
})
beforeEach(async () => {
  logins.ssh = true
  agent.clear()
  home = await makeHome(api, join(scratch, `home-${(count += 1)}`))
})
afterAll(async () => {
  agent?.stop()
  await api?.close()
  rmSync(scratch, { recursive: true, force: true })
})

const sally = (words: string[], environment: NodeJS.ProcessEnv = {}): Promise<SallyRun> =>
  runSally(words, { home, environment })
const withAgent = () => ({ SSH_AUTH_SOCK: agent.socket })
async function login(words: string[] = [], environment?: NodeJS.ProcessEnv): Promise<SallyRun> {
  const run = await sally(['login', '--refresh', ...words], environment)
  expect(run.code, run.stderr).toBe(0)
  return run
}
const keygen = (...words: string[]): string =>
  execFileSync('ssh-keygen', words, { encoding: 'utf8', stdio: 'pipe' })
const file = (name: string): string => join(home, 'ssh', name)
const blobOf = (line: string): string => line.trim().split(' ')[1]!

describe('the files', () => {
  test('OpenSSH reads the key, and the certificate is for it, by our authority', async () => {
    await login()
    const publicKey = readFileSync(file('id_ed25519.pub'), 'utf8').trim()
    expect(keygen('-y', '-P', '', '-f', file('id_ed25519')).trim()).toContain(publicKey)
    const shown = keygen('-L', '-f', file('id_ed25519-cert.pub'))
    const [, fingerprint] = keygen('-l', '-f', file('id_ed25519.pub')).split(' ')
    expect(shown).toContain(`Public key: ED25519-CERT ${fingerprint}`)
    expect(shown).toContain(sshFingerprint(logins.people.publicKey))
    expect(shown).toContain('Key ID: "dev@example.test"')
    for (const name of ['id_ed25519', 'id_ed25519.pub', 'id_ed25519-cert.pub', 'known_hosts']) {
      expect(statSync(file(name)).mode & 0o777, name).toBe(0o600)
    }
    expect(statSync(join(home, 'ssh')).mode & 0o777).toBe(0o700)
    for (const host of ['access.localhost', 'web1.access.localhost', '[access.localhost]:12222']) {
      expect(keygen('-F', host, '-f', file('known_hosts')), host).toContain('@cert-authority')
    }
    expect(() => keygen('-F', 'elsewhere.test', '-f', file('known_hosts'))).toThrow('failed')
  })

  test('a control that names another domain does not get what goes there', async () => {
    await login()
    const files = ['known_hosts', 'id_ed25519-cert.pub', '../config.json']
    const before = files.map((name) => readFileSync(file(name), 'utf8'))
    try {
      for (const domain of ['forge.example.com', 'com', '*', 'a.test\nHost *']) {
        logins.domain = domain
        const run = await sally(['login', '--refresh'])
        expect(run.code, domain).not.toBe(0)
        expect(files.map((name) => readFileSync(file(name), 'utf8'))).toEqual(before)
      }
      logins.domain = 'forge.example.com'
      expect((await sally(['login', '--refresh'])).stderr).toContain(
        'this home knows them under access.localhost',
      )
    } finally {
      logins.domain = 'access.localhost'
    }
    await login()
  })

  test('a key signs with what OpenSSH takes for its own', async () => {
    await login()
    const signed = execFileSync(
      'ssh-keygen',
      ['-Y', 'sign', '-q', '-n', 'test', '-f', file('id_ed25519')],
      { input: 'text', encoding: 'utf8', stdio: 'pipe' },
    )
    expect(signed).toContain('BEGIN SSH SIGNATURE')
  })

  test('each renewal is a new key; who may not use SSH keeps none', async () => {
    await login()
    const first = readFileSync(file('id_ed25519'), 'utf8')
    await login()
    expect(readFileSync(file('id_ed25519'), 'utf8')).not.toBe(first)
    logins.ssh = false
    const { ssh } = JSON.parse((await login(['--json'])).stdout) as { ssh: unknown }
    expect(ssh).toBeNull()
    for (const name of ['id_ed25519', 'id_ed25519.pub', 'id_ed25519-cert.pub']) {
      expect(existsSync(file(name)), name).toBe(false)
    }
    expect(existsSync(file('known_hosts'))).toBe(true)
  })

  test('whoami says until when, logout takes them away', async () => {
    expect((JSON.parse((await sally(['whoami', '--json'])).stdout) as { ssh: unknown }).ssh).toBe(
      null,
    )
    const { ssh } = JSON.parse((await login(['--json'])).stdout) as {
      ssh: { serial: string; expiresAtMs: number; inAgent: boolean; certificate: string }
    }
    expect(ssh).toMatchObject({ inAgent: false, certificate: file('id_ed25519-cert.pub') })
    const me = JSON.parse((await sally(['whoami', '--json'])).stdout) as { ssh: unknown }
    expect(me.ssh).toEqual({ serial: ssh.serial, expiresAtMs: ssh.expiresAtMs })
    expect((await sally(['whoami'])).stdout).toMatch(/^SSH +[0-9a-f]+, ends in 7h/m)
    expect((await sally(['logout'])).code).toBe(0)
    expect(existsSync(file('id_ed25519'))).toBe(false)
    expect(existsSync(file('id_ed25519-cert.pub'))).toBe(false)
  })

  test('a certificate that is none is named', async () => {
    await login()
    execFileSync('cp', [file('id_ed25519.pub'), file('id_ed25519-cert.pub')])
    const run = await sally(['whoami'])
    expect(run.code).toBe(2)
    expect(run.stderr).toContain('is not an SSH certificate')
  })
})

describe('the agent', () => {
  test('gets key and certificate until they end, and only if it is asked', async () => {
    await login([], withAgent())
    expect(agent.list()).toEqual([])
    const run = await login(['--agent', '--json'], withAgent())
    expect(JSON.parse(run.stdout)).toMatchObject({ ssh: { inAgent: true } })
    const held = agent.list().map(blobOf)
    expect(held).toContain(blobOf(readFileSync(file('id_ed25519.pub'), 'utf8')))
    expect(held).toContain(blobOf(readFileSync(file('id_ed25519-cert.pub'), 'utf8')))
    expect(held).toHaveLength(2)
  })

  test('a renewal puts the new one in the place of the old, logout takes it out', async () => {
    await login(['--agent'], withAgent())
    const first = agent.list()
    const renewed = await login([], withAgent())
    expect(renewed.stderr).toContain('agent has your key')
    const second = agent.list().map(blobOf)
    expect(second).toHaveLength(2)
    expect(second).not.toContain(blobOf(first[0]!))
    expect(second).toContain(blobOf(readFileSync(file('id_ed25519-cert.pub'), 'utf8')))
    expect((await sally(['logout'], withAgent())).code).toBe(0)
    expect(agent.list()).toEqual([])
  })

  test('without one, --agent is refused before anybody signs in; a dead one costs a warning', async () => {
    const calls = api.calls.length
    const none = await sally(['login', '--refresh', '--agent'])
    expect(none.code).toBe(1)
    expect(none.stderr).toMatch(/no SSH agent here[^]*ssh-agent/)
    expect(api.calls).toHaveLength(calls)
    const dead = await login(['--agent'], { SSH_AUTH_SOCK: join(scratch, 'nobody') })
    expect(dead.stderr).toContain('warning: SSH agent')
    expect(existsSync(file('id_ed25519'))).toBe(true)
    expect((await login([], { SSH_AUTH_SOCK: join(scratch, 'nobody') })).stderr).not.toContain(
      'warning',
    )
  })
})
