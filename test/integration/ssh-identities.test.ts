/** People before the proxy's own gate: the real OpenSSH client, a real control and a real proxy, a real sshd. */
import { execFileSync, spawn } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { sealedSecretsIn, writeSealedSecrets } from '../../control/api/sealed-secrets.ts'
import { freePort } from '../../deploy/ports.ts'
import { sshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { makeKey, startSshd, type SshdSite } from '../fakes/sshd-site.ts'
import { run, stackDomain, startStack, type Ran, type Stack, type StackPerson } from '../stack.ts'

let sshd: SshdSite
let stack: Stack
let folder: string
let person: StackPerson
const at = (name: string): string => join(folder, name)

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-ssh-people-'))
  const port = await freePort()
  ;[sshd, stack] = await Promise.all([
    startSshd(),
    startStack({ proxyFlags: ['--listen', `ssh=127.0.0.1:${port}`] }),
  ])
  const { proxy } = stack.site.paths
  await stack.stopProcess('proxy')
  appendFileSync(
    join(proxy, 'policy.yaml'),
    `  - reference: "sealed:web1"
    addresses: ["127.0.0.1:${sshd.port}"]
    hostKeys: ["${sshPublicKeyLine(sshd.hostKey)}"]
    levels: [read]
`,
  )
  const { file, keyFile } = sealedSecretsIn(proxy)
  writeSealedSecrets(file, keyFile, new Map([['web1', sshd.privateKey]]))
  await stack.startProcess('proxy')
  const web1 = {
    ...{ name: 'web1', protocol: 'ssh' as const, address: { host: '127.0.0.1', port: sshd.port } },
    levels: { read: { account: sshd.account, secret: 'sealed:web1' } },
    ssh: { hostKeys: [sshPublicKeyLine(sshd.hostKey)] },
  }
  await stack.api.call('resourcesApply', { body: { file: { resources: [web1] } } })
  person = await stack.person('dev')
  await stack.grant(person, { resource: 'web1', forMs: 600_000 })
  makeKey(folder, 'id')
  writeFileSync(
    at('config'),
    [
      'Host *',
      ...['StrictHostKeyChecking yes', `UserKnownHostsFile ${at('known_hosts')}`],
      ...['GlobalKnownHostsFile none', 'IdentitiesOnly yes', `IdentityFile ${at('id')}`],
      ...['LogLevel ERROR', 'User sallyport', 'IdentityAgent none', 'BatchMode yes'],
      `Host *.${stackDomain}`,
      `ProxyCommand ssh -F ${at('config')} -W [%h]:22 ${stackDomain}`,
      `Host ${stackDomain}`,
      ...['HostName 127.0.0.1', `HostKeyAlias ${stackDomain}`, `Port ${port}`, ''],
    ].join('\n'),
  )
})
afterAll(async () => {
  await stack?.stop()
  await sshd?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Signs the person's key in; returns the certificate's serial. */
async function certify(): Promise<string> {
  const { requestPem } = await createKeyAndRequest()
  const sshPublicKey = readFileSync(at('id.pub'), 'utf8').trim()
  const issued = await stack.api.call('certificateIssue', {
    params: { id: person.id },
    body: { requestPem, sshPublicKey },
  })
  writeFileSync(at('id-cert.pub'), `${issued.ssh!.certificate}\n`)
  const authorities = issued.sshHostAuthorities!.map(
    (line) => `@cert-authority *.${stackDomain},${stackDomain} ${line}\n`,
  )
  writeFileSync(at('known_hosts'), authorities.join(''))
  return issued.ssh!.serial
}

const ssh = (...args: string[]): Promise<Ran> => run('ssh', ['-F', at('config'), ...args], {})
const direct = `sallyport~web1@${stackDomain}`

describe('somebody with a certificate of SSH', () => {
  it.each([direct, `web1.${stackDomain}`])(
    'runs a command as %s, on a host that proves its name',
    async (name) => {
      await certify()
      expect(await ssh(name, 'echo in; exit 3')).toMatchObject({ code: 3, output: 'in\n' })
    },
  )

  it('is cut when it is revoked, and let in no more', async () => {
    const serial = await certify()
    const live = spawn('ssh', ['-F', at('config'), direct, 'echo in; sleep 1000'])
    let output = ''
    let errors = ''
    live.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    live.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    const code = new Promise((resolve) => live.once('close', resolve))
    await eventually(() => output === 'in\n')
    await stack.api.call('certificateRevoke', { params: { serial }, body: { reason: 'lost' } })
    expect(await code).toBe(255)
    expect(errors).toContain('revoked')
    const refused = await ssh(direct, 'echo in')
    expect(refused).toMatchObject({ code: 255, output: '' })
    await certify()
    expect(await ssh(direct, 'echo again')).toMatchObject({ output: 'again\n' })
  })

  it('is nobody with a certificate that another authority signed', async () => {
    await certify()
    makeKey(folder, 'forger')
    const principal = execFileSync('ssh-keygen', ['-Lf', at('id-cert.pub')]).toString()
    const name = /sallyport:\S+/.exec(principal)![0]
    execFileSync('ssh-keygen', [
      ...['-q', '-s', at('forger'), '-I', 'dev', '-n', name, '-V', '-1m:+1h', at('id.pub')],
    ])
    expect(await ssh(direct, 'echo in')).toMatchObject({ code: 255, output: '' })
  })
})
