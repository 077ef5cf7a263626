/**
 * A real sshd, a real control and a real proxy, each a process of its own, and the real OpenSSH client: for the integration tests, the
 * faults and the benchmarks of SSH. Not marked as a demo.
 */
import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { z } from 'zod'
import type { ApiClient } from '../control/api/client.ts'
import type { resource } from '../control/api/resource.ts'
import type { ActivityView, Grant, SessionView } from '../control/api/shapes.ts'
import { homeFiles } from '../control/cli/home.ts'
import { freePort } from '../deploy/ports.ts'
import type { Site } from '../deploy/site.ts'
import { findSshd } from '../deploy/ssh/find-sshd.ts'
import { prepareSshd, sshdAccounts, type SshdAccount } from '../deploy/ssh/sshd.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import type { Level } from '../protocols/session.ts'
import { eventually } from './demo-site.ts'
import { ranToEnd, type Ran } from './ran-to-end.ts'
import { host, prepareTestSite, type OpenTestSite } from './site.ts'

export const sshDomain = 'access.test'

type ResourceInput = z.input<typeof resource>

export interface SshStackOptions {
  /** Resources besides `web1`, all of one sshd, by what is particular in their `ssh:` section. */
  readonly resources?: Readonly<Record<string, Partial<NonNullable<ResourceInput['ssh']>>>>
  readonly limits?: Partial<Limits>
  /** Lines of public keys whose certificates sshd takes besides those of control. */
  readonly sshdAuthorities?: readonly string[]
  /** Lines of sshd_config. */
  readonly sshdSettings?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

export interface SshPerson {
  readonly id: string
  readonly email: string
  /** Their SALLY_HOME, and where their keys and the configuration of ssh are. */
  readonly home: string
  /** `-F <file>`, for programs that start ssh themselves. */
  readonly config: string
  /** Starts a client of OpenSSH's (`ssh`, `scp`, `sftp`), or anything else. */
  start(program: string, args: readonly string[]): ChildProcessWithoutNullStreams
  run(program: string, args: readonly string[], input?: string | Buffer): Promise<Ran>
  ssh(args: readonly string[], input?: string | Buffer): Promise<Ran>
}

export interface SshStack {
  readonly directory: string
  readonly site: Site
  readonly api: ApiClient
  readonly sshPort: number
  readonly sshdPort: number
  /** `viewer`, and `operator` of level admin. */
  readonly accounts: readonly [SshdAccount, SshdAccount]
  person(name: string): Promise<SshPerson>
  grant(
    person: SshPerson,
    options?: { resource?: string; level?: Level; forMs?: number },
  ): Promise<Grant>
  /** What one did, oldest first and without what was shown, once `ready` likes it. */
  activities(
    person: SshPerson,
    ready: (found: readonly ActivityView[]) => boolean,
  ): Promise<readonly ActivityView[]>
  sessions(
    person: SshPerson,
    ready: (found: readonly SessionView[]) => boolean,
  ): Promise<readonly SessionView[]>
  /** Processes of the accounts on this machine whose command line has the marker. */
  processes(marker: string): number[]
  /** Processes of sshd for those who are connected now. */
  served(): number[]
  pid(name: 'control' | 'proxy'): number
  startProxy(): Promise<void>
  log(name: 'control' | 'proxy' | 'sshd'): string
  stop(): Promise<void>
}

/** Two ways to say where to: by the jump of ssh_config, and with no configuration but the proxy's name. */
export const ways = {
  jump: (name: string, account = 'sallyport') => `${account}@${name}.${sshDomain}`,
  direct: (name: string, account = '') => `${account}~${name}@${sshDomain}`,
} as const

export async function startSshStack(options: SshStackOptions = {}): Promise<SshStack> {
  const { environment = {}, limits } = options
  const prepared = prepareTestSite({
    ...{ name: 'ssh-stack', domain: sshDomain, protocols: ['ssh'], environment },
  })
  const { directory } = prepared
  const stop = (): Promise<void> => prepared.stop()
  try {
    const opened = await prepared.open()
    const { site, api, ports } = opened
    const sshdPort = await freePort()
    const { upstream } = await api.call('sshAuthorities')
    const found = findSshd(() => undefined)
    if (found === undefined) throw new Error('there is no sshd')
    const accounts = makeAccounts(directory, found)
    const authorities = [...upstream, ...(options.sshdAuthorities ?? [])]
    const sshd = prepareSshd({
      ...{ found, port: sshdPort, accounts, authorities },
      directory: join(directory, 'sshd'),
      publicDirectory: join(directory, 'names'),
      settings: options.sshdSettings ?? [],
      logFile: join(directory, 'logs', 'sshd.log'),
    })
    await prepared.resources.start(sshd.program)
    const names = { web1: {}, ...options.resources }
    await api.call('resourcesApply', {
      body: {
        file: {
          resources: Object.entries(names).map(([name, ssh]) => ({
            name,
            protocol: 'ssh' as const,
            address: { host, port: sshdPort },
            levels: {
              read: { account: accounts[0].name, secret: 'certificate:web' },
              admin: { account: accounts[1].name, secret: 'certificate:web' },
            },
            ssh: { hostKeys: [sshd.hostKeyLine], ...ssh },
          })),
        },
      },
    })
    const policy = `secrets:
  - reference: "certificate:web"
    addresses: ["${host}:${sshdPort}"]
    hostKeys: ["${sshd.hostKeyLine}"]
    levels: [read, admin]
`
    await opened.startProxy({ policy, limits })
    const uids = new Set(accounts.map(({ uid }) => uid))
    return {
      ...{ directory, site, api, sshPort: ports.ssh, sshdPort, accounts, stop },
      person: (name) => sshPerson(opened, name),
      grant: (person, { resource: name = 'web1', level = 'read', forMs = 3_600_000 } = {}) =>
        opened.grant(person.email, name, level, forMs),
      activities: (person, ready) =>
        eventually(async () => {
          const query = { person: person.email, limit: 1_000 }
          const { items } = await api.call('auditSearch', { query })
          return items.filter(({ kind }) => kind !== 'terminal-output').toReversed()
        }, ready),
      sessions: (person, ready) =>
        eventually(async () => {
          const query = { person: person.email, limit: 1_000 }
          return (await api.call('sessions', { query })).items
        }, ready),
      processes: (marker) => processesOf(uids, marker),
      served: () => childrenOf(Number(readFileSync(join(directory, 'sshd', 'sshd.pid'), 'utf8'))),
      pid: (name) => opened.pid(name),
      async startProxy() {
        await opened.stopProcess('proxy')
        await opened.startProcess('proxy')
      },
      log: (name) => opened.log(name),
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function makeAccounts(
  directory: string,
  found: Parameters<typeof sshdAccounts>[0],
): [SshdAccount, SshdAccount] {
  const homes = new Map(
    ['viewer', 'operator'].map((name) => [name, join(directory, 'accounts', name)]),
  )
  const { username, uid, gid } = userInfo()
  const accounts = sshdAccounts(found, homes, { username, uid, gid })
  for (const account of accounts) {
    mkdirSync(account.home, { recursive: true, mode: 0o755 })
    if (uid === 0) chownSync(account.home, account.uid, account.gid)
  }
  return [accounts[0]!, accounts.at(-1)!]
}

/** Makes a person, and a configuration of ssh for them. */
export async function sshPerson(
  opened: Pick<OpenTestSite, 'person' | 'ports'>,
  name: string,
): Promise<SshPerson> {
  const { id, email, home, sshHostAuthorities } = await opened.person(name)
  const at = (file: string): string => join(home, file)
  const { ssh } = homeFiles(home)
  const names = `${sshDomain},*.${sshDomain}`
  writeFileSync(
    at('known_hosts'),
    sshHostAuthorities.map((line) => `@cert-authority ${names} ${line}\n`).join(''),
  )
  const config = at('ssh_config')
  writeFileSync(
    config,
    [
      'Host *',
      ...['StrictHostKeyChecking yes', 'GlobalKnownHostsFile none', 'User sallyport'],
      ...[`UserKnownHostsFile ${at('known_hosts')}`, `IdentityFile ${ssh.key}`],
      ...[`CertificateFile ${ssh.certificate}`, 'IdentitiesOnly yes', 'LogLevel ERROR'],
      `Host ${sshDomain}`,
      ...[`HostName ${host}`, `Port ${opened.ports.ssh}`, `HostKeyAlias ${sshDomain}`],
      `Host *.${sshDomain}`,
      `ProxyJump ${sshDomain}`,
      '',
    ].join('\n'),
  )
  // ssh finds no configuration of the person who runs the test: -F is given, and to those who start it, by GIT_SSH_COMMAND and the like.
  const environment = { ...process.env, HOME: home, SSH_AUTH_SOCK: '', LC_PROBE: 'from the client' }
  const start = (program: string, args: readonly string[]): ChildProcessWithoutNullStreams => {
    const own = ['ssh', 'scp', 'sftp'].includes(program) ? ['-F', config] : []
    return spawn(program, [...own, ...args], { env: environment, cwd: home })
  }
  const run = async (
    program: string,
    args: readonly string[],
    input: string | Buffer = '',
  ): Promise<Ran> => {
    const client = start(program, args)
    client.stdin.on('error', () => undefined)
    client.stdin.end(input)
    return ranToEnd(client)
  }
  return {
    ...{ id, email, home, config, start, run },
    ssh: (args, input) => run('ssh', args, input),
  }
}

function childrenOf(parent: number): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => {
    const [pid, ppid] = line.trim().split(/\s+/).map(Number)
    return ppid === parent ? [pid!] : []
  })
}

function processesOf(uids: ReadonlySet<number>, marker: string): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,uid=,args='], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => {
    const [, pid, uid, args = ''] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? []
    return uids.has(Number(uid)) && args.includes(marker) ? [Number(pid)] : []
  })
}
