/** The SSH engine with a fake gate before a real sshd, and the real OpenSSH client. */
import { generateKeyPairSync, sign } from 'node:crypto'
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { HostKey } from '../../protocols/engine.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { encodeSshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import type { SshTerms } from '../../protocols/session.ts'
import { ssh } from '../../protocols/ssh/index.ts'
import { ranToEnd, type Ran } from '../ran-to-end.ts'
import { startEngineServer, type EngineServer } from './engine-server.ts'
import { createFakeGate, type FakeGate, type FakeGateOptions } from './gate.ts'
import { certifyWith, makeKey, publicKeyBlob, type SshdSite } from './sshd-site.ts'
import { copyCertificates, type TestCertificates } from './tls.ts'

export const domain = 'access.localhost'

export interface SshSite extends AsyncDisposable {
  readonly gate: FakeGate
  readonly server: EngineServer
  /** Where its files are: `id`, `id-cert.pub`, `config`. */
  readonly folder: string
  /** Arguments of every client, and the host to name for the `~` form and for the jump. */
  readonly options: readonly string[]
  readonly direct: string
  readonly jumped: string
  /** Starts a client of OpenSSH's: `ssh`, `scp`, `sftp`. */
  start(program: string, args: readonly string[]): ChildProcessWithoutNullStreams
  /** Runs one to its end. */
  run(program: string, args: readonly string[], input?: string | Buffer): Promise<Ran>
  ssh(args: readonly string[], input?: string | Buffer): Promise<Ran>
  close(): Promise<void>
}

export const defaultTerms: SshTerms = {
  agentForwarding: false,
  tunnels: [],
  deny: [],
  recordInput: true,
  streamBytesMax: 16 * 1024 * 1024,
}

/** `terms` are what the resource allows; `how` the proxy logs in at sshd. */
export async function startSshSite(
  sshd: SshdSite,
  options: {
    terms?: Partial<SshTerms>
    limits?: Partial<Limits>
    gate?: Partial<FakeGateOptions>
    certificates?: TestCertificates
  } = {},
): Promise<SshSite> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-ssh-'))
  const certificates = options.certificates ?? (await copyCertificates(domain))
  for (const name of ['id', 'host-ca']) makeKey(folder, name)
  const gate = createFakeGate({
    upstream: {
      host: '127.0.0.1',
      port: sshd.port,
      serverName: '127.0.0.1',
      tls: 'disable',
      ssh: { hostKeys: [sshd.hostKey], hostAuthorities: [] },
    },
    account: sshd.account,
    secret: sshd.privateKey,
    ssh: { ...defaultTerms, ...options.terms },
    ...options.gate,
  })
  const server = await startEngineServer({
    ...{ engine: ssh, gate, certificates, domain, hostKeys: makeHostKeys(folder) },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  })
  const authority = publicKeyBlob(join(folder, 'host-ca.pub')).toString('base64')
  writeFileSync(
    join(folder, 'known_hosts'),
    `@cert-authority *.${domain},${domain},[${domain}]:${server.port} ssh-ed25519 ${authority}\n`,
  )
  writeFileSync(
    join(folder, 'config'),
    [
      'Host *',
      ...['StrictHostKeyChecking yes', `UserKnownHostsFile ${join(folder, 'known_hosts')}`],
      ...['GlobalKnownHostsFile none', 'IdentitiesOnly yes', `IdentityFile ${join(folder, 'id')}`],
      ...['LogLevel ERROR', 'User sallyport', 'IdentityAgent none'],
      `Host *.${domain}`,
      `ProxyCommand ssh -F ${join(folder, 'config')} -W [%h]:22 ${domain}`,
      `Host ${domain}`,
      ...['HostName 127.0.0.1', `HostKeyAlias ${domain}`, `Port ${server.port}`, ''],
    ].join('\n'),
  )
  const base = ['-F', join(folder, 'config')]
  const start = (program: string, args: readonly string[]) =>
    spawn(program, [...base, ...args], {
      env: { PATH: process.env['PATH'], HOME: folder, LC_PROBE: 'from-the-client' },
    })
  const run = async (
    program: string,
    args: readonly string[],
    input: string | Buffer = '',
  ): Promise<Ran> => {
    const client = start(program, args)
    client.stdin.on('error', () => {})
    client.stdin.end(input)
    return await ranToEnd(client)
  }
  const close = async (): Promise<void> => {
    await server.close()
    rmSync(folder, { recursive: true, force: true })
    if (options.certificates === undefined) certificates.remove()
  }
  return {
    ...{ gate, server, folder, start, run, close },
    [Symbol.asyncDispose]: close,
    options: base,
    direct: `sallyport~web1@${domain}`,
    jumped: `web1.${domain}`,
    ssh: (args, input) => run('ssh', args, input),
  }
}

/** As the proxy has them: one key, certified for just the name that is asked for. */
function makeHostKeys(folder: string): (name: string) => Promise<HostKey[] | undefined> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const blob = encodeSshPublicKey(publicKey)
  const certified = new Map<string, Buffer>()
  const signs = (data: Buffer): Buffer => sign(null, data, privateKey)
  return (name) => {
    if (name !== domain && !name.endsWith(`.${domain}`)) return Promise.resolve(undefined)
    certified.set(
      name,
      certified.get(name) ?? certifyWith(folder, 'host-ca', blob, name, '-1m:+1h', ['-h']),
    )
    const certificate = certified.get(name)!
    return Promise.resolve([
      { publicKey: certificate, algorithm: 'ssh-ed25519-cert-v01@openssh.com', sign: signs },
      { publicKey: blob, algorithm: 'ssh-ed25519', sign: signs },
    ])
  }
}
