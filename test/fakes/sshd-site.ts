/**
 * A real sshd of Debian's with a configuration, keys and authorities of its own, a private port and nothing of the machine's. Runs as root or
 * as anybody; sessions are of whoever runs the test.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../deploy/ports.ts'
import { findSshd } from '../../deploy/ssh/find-sshd.ts'
import { sshdAccounts, wrapNames } from '../../deploy/ssh/sshd.ts'

export interface SshdSite {
  readonly port: number
  readonly folder: string
  /** The account that it lets in. */
  readonly account: string
  /** Blobs. */
  readonly hostKey: Buffer
  readonly hostAuthority: Buffer
  /** Of a key that `authorized_keys` lists, in OpenSSH's form. */
  readonly privateKey: string
  /** What it wrote to its log. */
  readonly log: string
  /** Signs a key of a session as the upstream authority does. */
  certify(publicKey: Buffer, options?: { principal?: string; validity?: string }): Buffer
  stop(): Promise<void>
}

export interface SshdOptions {
  /** Lines of sshd_config, ahead of the usual ones. */
  readonly lines?: readonly string[]
  /** Shows a certificate for these names instead of a bare key. */
  readonly hostCertificateFor?: readonly string[]
  /**
   * Lets in somebody who is not root: sshd passes signals on only for such. Whoever runs the test, if that is not root (then sshd passes none,
   * because it has no other user to pass them as). Default: whoever runs the test.
   */
  readonly unprivileged?: boolean
}

export async function startSshd(options: SshdOptions = {}): Promise<SshdSite> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-sshd-'))
  const [account, names] = accountOf(options, folder)
  // Another account has to read the keys.
  chmodSync(folder, 0o755)
  for (const name of ['host', 'host-ca', 'user-ca', 'client']) makeKey(folder, name)
  const at = (name: string): string => join(folder, name)
  writeFileSync(at('authorized_keys'), readFileSync(at('client.pub')), { mode: 0o644 })
  if (options.hostCertificateFor !== undefined) {
    const names = options.hostCertificateFor.join(',')
    const sign = ['-q', '-s', at('host-ca'), '-I', 'host', '-h', '-n', names, '-V', '-1m:+1h']
    execFileSync('ssh-keygen', [...sign, at('host.pub')])
  }
  // sshd of a non-root user needs no such folder; root's does, and looks for it where Debian's was built to.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true })
  const port = await freePort()
  writeFileSync(
    at('sshd_config'),
    [
      ...(options.lines ?? []),
      // Also for what a session runs.
      ...(names.length === 0
        ? []
        : [`SetEnv ${names.map(([name, value]) => `${name}=${value}`).join(' ')}`]),
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${at('host')}`,
      ...(options.hostCertificateFor === undefined
        ? []
        : [`HostCertificate ${at('host-cert.pub')}`]),
      `TrustedUserCAKeys ${at('user-ca.pub')}`,
      `AuthorizedKeysFile ${at('authorized_keys')}`,
      `PidFile ${at('pid')}`,
      ...['StrictModes no', 'UsePAM no', 'PermitRootLogin yes', 'PasswordAuthentication no'],
      ...['KbdInteractiveAuthentication no', 'AcceptEnv *', 'PrintMotd no', 'PrintLastLog no'],
      ...['MaxStartups 100', 'MaxSessions 300', 'AllowTcpForwarding yes', 'GatewayPorts no'],
      ...['Subsystem sftp internal-sftp', 'LogLevel VERBOSE', ''],
    ].join('\n'),
  )
  let log = ''
  const daemon = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', at('sshd_config')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...Object.fromEntries(names) },
  })
  await new Promise<void>((resolve, reject) => {
    daemon.stderr.on('data', (chunk: Buffer) => {
      log += chunk.toString('utf8')
      if (log.includes('Server listening on')) resolve()
    })
    daemon.once('exit', (code) => reject(new Error(`sshd ended with ${code}: ${log}`)))
  })
  return {
    ...{ port, folder, account },
    hostKey: publicKeyBlob(at('host.pub')),
    hostAuthority: publicKeyBlob(at('host-ca.pub')),
    privateKey: readFileSync(at('client'), 'utf8'),
    get log() {
      return log
    },
    certify(publicKey, { principal = account, validity = '-1m:+5m' } = {}) {
      return certifyWith(folder, 'user-ca', publicKey, principal, validity)
    },
    async stop() {
      await ended(daemon)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Who is let in, and the environment in which there is such an account. */
function accountOf(
  { unprivileged = false }: SshdOptions,
  folder: string,
): [account: string, names: [string, string][]] {
  const { username, uid, gid } = userInfo()
  if (!unprivileged || uid !== 0) return [username, []]
  const found = findSshd(() => undefined)
  if (found === undefined) throw new Error('there is no sshd')
  const accounts = sshdAccounts(found, new Map([['stranger', '/']]), { username, uid, gid })
  return ['stranger', Object.entries(wrapNames(found, join(folder, 'names'), accounts))]
}

/** Makes `name` and `name.pub` in a folder. */
export function makeKey(folder: string, name: string, type = 'ed25519'): void {
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', name, '-f', join(folder, name)])
}

export function publicKeyBlob(file: string): Buffer {
  return Buffer.from(readFileSync(file, 'utf8').split(' ')[1]!, 'base64')
}

let certified = 0

/** Has ssh-keygen sign a public key with the authority `authority` in the folder. */
export function certifyWith(
  folder: string,
  authority: string,
  publicKey: Buffer,
  principal: string,
  validity: string,
  more: readonly string[] = [],
): Buffer {
  const name = `session-${certified++}`
  const length = publicKey.readUInt32BE(0)
  const type = publicKey.toString('latin1', 4, 4 + length)
  writeFileSync(join(folder, `${name}.pub`), `${type} ${publicKey.toString('base64')}\n`)
  execFileSync('ssh-keygen', [
    ...['-q', '-s', join(folder, authority), '-I', name, '-n', principal, '-V', validity],
    ...more,
    join(folder, `${name}.pub`),
  ])
  return publicKeyBlob(join(folder, `${name}-cert.pub`))
}

function ended(daemon: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    daemon.removeAllListeners('exit')
    if (daemon.exitCode !== null) resolve()
    daemon.once('exit', () => resolve())
    daemon.kill('SIGTERM')
  })
}
