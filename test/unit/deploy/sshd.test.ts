import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findSshd } from '../../../deploy/ssh/find-sshd.ts'
import { prepareSshd, sshdAccounts, wrapNames } from '../../../deploy/ssh/sshd.ts'
import { terminalsHaveGroup } from '../../../deploy/ssh/terminal-group.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-sshd-unit-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const sshd = 'usr/sbin/sshd'
const library = 'usr/lib/x86_64-linux-gnu/libnss_wrapper.so'

function put(name: string, mode = 0o755): void {
  mkdirSync(dirname(join(directory, name)), { recursive: true })
  writeFileSync(join(directory, name), '')
  chmodSync(join(directory, name), mode)
}

describe('findSshd', () => {
  const said: string[] = []
  const find = (install: false | (() => void) = false) =>
    findSshd((line) => said.push(line), { root: directory, install })
  beforeEach(() => void said.splice(0))

  it('finds what is installed, with the library or without', () => {
    expect(find()).toBeUndefined()
    put(sshd, 0o644)
    expect(find()).toBeUndefined()
    put(sshd)
    expect(find()).toEqual({ program: join(directory, sshd), nssWrapper: undefined })
    put(library)
    expect(find()?.nssWrapper).toBe(join(directory, library))
    expect(said).toEqual([])
  })

  it('installs what is missing where it may, once and saying so', () => {
    put(sshd)
    let installs = 0
    const install = (): void => {
      installs += 1
      put(library)
    }
    expect(find(install)?.nssWrapper).toBe(join(directory, library))
    expect(find(install)).toBeDefined()
    expect(installs).toBe(1)
    expect(said).toEqual([expect.stringContaining('openssh-server, libnss-wrapper')])
  })

  it('goes without, where installing did not help', () => {
    expect(find(() => undefined)).toBeUndefined()
  })
})

describe('sshdAccounts', () => {
  const homes = new Map([
    ['viewer', '/v'],
    ['operator', '/o'],
  ])
  const wrapped = { nssWrapper: '/lib.so' }

  it('never lends root', () => {
    const root = { uid: 0, gid: 0, username: 'root' }
    expect(() => sshdAccounts({ nssWrapper: undefined }, homes, root)).toThrow('never lent')
    const accounts = sshdAccounts(wrapped, homes, root)
    expect(accounts.map(({ name, home }) => [name, home])).toEqual([...homes])
    const ids = accounts.flatMap(({ uid, gid }) => [uid, gid])
    const taken = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((line) => line.split(':')[2])
    for (const id of ids) {
      expect(id).toBeGreaterThan(60_000)
      expect(taken).not.toContain(String(id))
    }
    expect(accounts[0]!.uid).not.toBe(accounts[1]!.uid)
  })

  it('lends whoever is not root themselves, by the names that it can give', () => {
    const self = { uid: 1_000, gid: 1_001, username: 'me' }
    expect(sshdAccounts(wrapped, homes, self)).toEqual([
      { name: 'viewer', home: '/v', uid: 1_000, gid: 1_001 },
      { name: 'operator', home: '/o', uid: 1_000, gid: 1_001 },
    ])
    const plain = sshdAccounts({ nssWrapper: undefined }, homes, self)
    expect(plain.map(({ name }) => name)).toEqual(['me', 'me'])
  })
})

describe('what it writes', () => {
  const accounts = [{ name: 'viewer', home: '/v', uid: 64_901, gid: 64_901 }]
  const prepare = (nssWrapper: string | undefined, settings: string[] = []) =>
    prepareSshd({
      found: { program: '/usr/sbin/sshd', nssWrapper },
      directory: join(directory, 'sshd'),
      publicDirectory: join(directory, 'names'),
      ...{ port: 2_222, accounts, authorities: ['ssh-ed25519 AAAA one', 'ssh-ed25519 BBBB'] },
      ...{ settings, logFile: join(directory, 'log') },
    })
  const read = (name: string): string => readFileSync(join(directory, name), 'utf8')

  it('lets in certificates of the authorities only, on the loopback address, as the accounts only', () => {
    prepare('/lib.so', ['PermitTTY no'])
    const lines = read('sshd/sshd_config').split('\n')
    expect(lines[0]).toBe('PermitTTY no')
    for (const line of [
      ...['ListenAddress 127.0.0.1', 'Port 2222', 'AuthorizedKeysFile none', 'AllowUsers viewer'],
      ...['PasswordAuthentication no', 'KbdInteractiveAuthentication no', 'PermitRootLogin no'],
      `TrustedUserCAKeys ${join(directory, 'sshd/authorities')}`,
    ]) {
      expect(lines).toContain(line)
    }
    expect(read('sshd/authorities')).toBe('ssh-ed25519 AAAA one\nssh-ed25519 BBBB\n')
    expect(statSync(join(directory, 'sshd')).mode & 0o077).toBe(0)
    expect(statSync(join(directory, 'sshd/host')).mode & 0o077).toBe(0)
  })

  it('gives sshd and its sessions the names, ahead of those of the system', () => {
    const { program } = prepare('/lib.so')
    expect(program.command).toContain('LD_PRELOAD=/lib.so')
    expect(read('sshd/sshd_config')).toMatch(/^SetEnv LD_PRELOAD=\/lib\.so NSS_WRAPPER_PASSWD=/m)
    expect(read('names/passwd')).toMatch(/^viewer:x:64901:64901:[^\n]*\n[^]*root:/)
    expect(read('names/group')).toMatch(/^viewer:x:64901:\n[^]*root:/)
    expect(wrapNames({ nssWrapper: undefined }, join(directory, 'none'), accounts)).toEqual({})
    expect(existsSync(join(directory, 'none'))).toBe(false)
  })

  it('keeps its host key from one start to the next, and is ready when it says so itself', () => {
    const first = prepare(undefined)
    const again = prepare(undefined)
    expect(again.hostKeyLine).toBe(first.hostKeyLine)
    expect(first.hostKeyLine).toMatch(/^ssh-ed25519 [\w+/=]+$/)
    expect(read('sshd/sshd_config')).not.toContain('SetEnv')
    expect(again.program.ready()).toBe(false)
    writeFileSync(join(directory, 'sshd/sshd.pid'), '1')
    expect(again.program.ready()).toBe(true)
    again.program.prepare?.()
    expect(again.program.ready()).toBe(false)
  })
})

it('terminals have a group where devpts was mounted with one', () => {
  const mounts = (options: string): string =>
    `proc /proc proc rw 0 0\ndevpts /dev/pts devpts rw,${options},mode=620 0 0\n`
  expect(terminalsHaveGroup(mounts('gid=5'))).toBe(true)
  expect(terminalsHaveGroup(mounts('nosuid'))).toBe(false)
  expect(terminalsHaveGroup(`${mounts('nosuid')}${mounts('gid=5')}`)).toBe(true)
  expect(terminalsHaveGroup('')).toBe(true)
})
