/**
 * A real sshd for the demo, the tests and the benchmarks: on 127.0.0.1 only, certificates only, with keys and accounts of its own and no
 * trace in the system. Nobody is ever logged in as root.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ChildProgram } from '../supervisor.ts'
import type { Account } from '../account.ts'
import type { FoundSshd } from './find-sshd.ts'
import { terminalsHaveGroup } from './terminal-group.ts'

export interface SshdAccount extends Account {
  readonly name: string
  readonly home: string
}

export interface SshdOptions {
  readonly found: FoundSshd
  /** Made if it is missing; ours alone. Holds configuration and host key. */
  readonly directory: string
  /** Made if it is missing; the accounts must be able to enter it. Holds what makes names of their ids. */
  readonly publicDirectory: string
  readonly port: number
  readonly accounts: readonly SshdAccount[]
  /** Lines of public keys: whose certificates it takes. */
  readonly authorities: readonly string[]
  /** Lines of sshd_config ahead of the usual ones, which they override. */
  readonly settings?: readonly string[]
  readonly logFile: string
}

export interface Sshd {
  readonly program: ChildProgram
  /** `ssh-ed25519 AAAA…` */
  readonly hostKeyLine: string
}

const stopMs = 5_000

/** Makes what it needs, and says how to run it. */
export function prepareSshd(options: SshdOptions): Sshd {
  const { directory, accounts, found } = options
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const at = (name: string): string => join(directory, name)
  if (!existsSync(at('host'))) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', at('host')])
  }
  writeFileSync(at('authorities'), options.authorities.map((line) => `${line}\n`).join(''))
  const names = wrapNames(found, options.publicDirectory, accounts)
  writeFileSync(at('sshd_config'), configurationOf(options, names))
  const wrapping = Object.entries(names).map(([name, value]) => `${name}=${value}`)
  const pidFile = at('sshd.pid')
  endStale(pidFile, directory)
  // Debian's was built to look for it, and does so only as root.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  const guard = fileURLToPath(new URL('../guard.ts', import.meta.url))
  return {
    hostKeyLine: readFileSync(at('host.pub'), 'utf8').trim(),
    program: {
      name: 'sshd',
      command: [
        ...[process.execPath, guard, '0', '0', 'SIGTERM', '/usr/bin/env', ...wrapping],
        ...[found.program, '-D', '-e', '-f', at('sshd_config')],
      ],
      logFile: options.logFile,
      prepare: () => rmSync(pidFile, { force: true }),
      ready: () => existsSync(pidFile),
      stopMs,
    },
  }
}

/** Environment in which there are these accounts besides those of the system. */
export function wrapNames(
  { nssWrapper }: Pick<FoundSshd, 'nssWrapper'>,
  directory: string,
  accounts: readonly SshdAccount[],
): Record<string, string> {
  if (nssWrapper === undefined) return {}
  const shell = existsSync('/bin/bash') ? '/bin/bash' : '/bin/sh'
  mkdirSync(directory, { recursive: true, mode: 0o755 })
  const passwd = accounts.map(
    ({ name, uid, gid, home }) => `${name}:x:${uid}:${gid}:${name} of the demo:${home}:${shell}\n`,
  )
  const group = accounts.map(({ name, gid }) => `${name}:x:${gid}:\n`)
  const files = { passwd: join(directory, 'passwd'), group: join(directory, 'group') }
  // Ours first: a system may have an account with the same id, which is then shown under the name of ours.
  const system = (name: string): string => readFileSync(join('/etc', name), 'utf8')
  // Without a group of that name sshd leaves a terminal to its account, which takes no right that only root has.
  const keepsTty = process.getuid?.() === 0 || terminalsHaveGroup()
  const groups = keepsTty ? system('group') : system('group').replace(/^tty:.*\n?/m, '')
  writeFileSync(files.passwd, passwd.join('') + system('passwd'), { mode: 0o644 })
  writeFileSync(files.group, group.join('') + groups, { mode: 0o644 })
  return {
    LD_PRELOAD: nssWrapper,
    NSS_WRAPPER_PASSWD: files.passwd,
    NSS_WRAPPER_GROUP: files.group,
  }
}

function configurationOf(options: SshdOptions, names: Readonly<Record<string, string>>): string {
  const at = (name: string): string => join(options.directory, name)
  const accounts = new Set(options.accounts.map(({ name }) => name))
  // Also for what a session runs, or `whoami` would know no name.
  const forSessions = Object.entries(names).map(([name, value]) => `${name}=${value}`)
  return [
    ...(options.settings ?? []),
    `Port ${options.port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${at('host')}`,
    `TrustedUserCAKeys ${at('authorities')}`,
    `AllowUsers ${[...accounts].join(' ')}`,
    `PidFile ${at('sshd.pid')}`,
    ...['AuthorizedKeysFile none', 'PasswordAuthentication no', 'KbdInteractiveAuthentication no'],
    ...['PermitRootLogin no', 'UsePAM no', 'StrictModes no', 'PrintMotd no', 'PrintLastLog no'],
    ...['X11Forwarding no', 'PermitTunnel no', 'AllowStreamLocalForwarding no', 'GatewayPorts no'],
    ...['AcceptEnv LANG LC_* GIT_*', 'MaxStartups 200', 'MaxSessions 300'],
    ...(forSessions.length === 0 ? [] : [`SetEnv ${forSessions.join(' ')}`]),
    ...['Subsystem sftp internal-sftp', 'LogLevel VERBOSE', ''],
  ].join('\n')
}

/** One that outlived its supervisor and its guard. */
function endStale(pidFile: string, directory: string): void {
  if (!existsSync(pidFile)) return
  const pid = Number(readFileSync(pidFile, 'utf8'))
  if (!Number.isSafeInteger(pid) || pid <= 1) return
  try {
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory)) process.kill(pid)
  } catch {
    // It is gone, or this system has no /proc.
  }
}

/**
 * Who the sessions are: ids that nobody has for root, who may become anybody, and our own for everybody else. Without nss_wrapper only an
 * account of the system will do, so then all of them are us.
 * @throws SallyportError `config-invalid` if root would have to lend itself.
 */
export function sshdAccounts(
  found: Pick<FoundSshd, 'nssWrapper'>,
  homes: ReadonlyMap<string, string>,
  self: { readonly uid: number; readonly gid: number; readonly username: string },
): SshdAccount[] {
  if (found.nssWrapper === undefined) {
    if (self.uid === 0) {
      throw new SallyportError('config-invalid', 'no libnss_wrapper, and root is never lent')
    }
    return [...homes.values()].map((home) => ({ ...self, name: self.username, home }))
  }
  if (self.uid !== 0) {
    return [...homes].map(([name, home]) => ({ name, home, uid: self.uid, gid: self.gid }))
  }
  const free = freeIds(homes.size)
  return [...homes].map(([name, home], index) => {
    return { name, home, uid: free[index]!, gid: free[index]! }
  })
}

/** Below those of `nobody`, far above those of people. */
const firstId = 64_901

function freeIds(count: number): number[] {
  const taken = new Set(
    ['/etc/passwd', '/etc/group'].flatMap((file) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .map((line) => Number(line.split(':')[2])),
    ),
  )
  const free: number[] = []
  for (let id = firstId; free.length < count; id += 1) if (!taken.has(id)) free.push(id)
  return free
}
