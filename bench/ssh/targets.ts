/** The ways to one sshd: directly, through OpenSSH's own jump, and through the proxy in both of its forms. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../../deploy/ports.ts'
import { findSshd } from '../../deploy/ssh/find-sshd.ts'
import { prepareSshd } from '../../deploy/ssh/sshd.ts'
import type { Supervisor } from '../../deploy/supervisor.ts'
import { sshDomain, type SshPerson, type SshStack } from '../../test/ssh-stack.ts'

export const targetNames = ['direct', 'proxyjump', 'sallyport', 'sallyport_no_jump'] as const
export type TargetName = (typeof targetNames)[number]

export const ciphers = {
  aes128gcm: 'aes128-gcm@openssh.com',
  chacha20: 'chacha20-poly1305@openssh.com',
} as const
export type CipherName = keyof typeof ciphers

/** Host names in the configuration. */
const hosts: Readonly<Record<TargetName, string>> = {
  direct: 'direct',
  proxyjump: 'jumped',
  sallyport: `web1.${sshDomain}`,
  sallyport_no_jump: `~web1@${sshDomain}`,
}

/** Arguments of ssh to a target: both legs of a jump have the cipher. */
export type SshArguments = (target: TargetName, cipher?: CipherName) => string[]

/** An authority for the ways around the proxy: its line goes into the sshd of the stack. */
export function makeAuthority(directory: string): { readonly file: string; readonly line: string } {
  const file = join(directory, 'bench-ca')
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file])
  return { file, line: readFileSync(`${file}.pub`, 'utf8').trim() }
}

/** Starts the sshd that is jumped through, and lets the person into both. */
export async function openTargets(
  stack: SshStack,
  person: SshPerson,
  authority: { readonly file: string; readonly line: string },
  supervisor: Supervisor,
): Promise<SshArguments> {
  const found = findSshd(() => undefined)
  if (found === undefined) throw new Error('there is no sshd')
  const port = await freePort()
  const jump = prepareSshd({
    ...{ found, port, accounts: stack.accounts, authorities: [authority.line] },
    directory: join(stack.directory, 'jump-sshd'),
    publicDirectory: join(stack.directory, 'jump-names'),
    logFile: join(stack.directory, 'logs', 'jump.log'),
  })
  await supervisor.start(jump.program)
  const account = stack.accounts[0].name
  const at = (name: string): string => join(person.home, name)
  const key = at('around')
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', key])
  const sign = ['-q', '-s', authority.file, '-I', 'bench', '-n', account, '-V', '-1m:+1d']
  execFileSync('ssh-keygen', [...sign, `${key}.pub`])
  const usual = readFileSync(person.config, 'utf8')
  const around = (name: string, to: number): string[] => [
    `Host ${name}`,
    ...['HostName 127.0.0.1', `Port ${to}`, `User ${account}`, 'StrictHostKeyChecking no'],
    ...['UserKnownHostsFile /dev/null', `IdentityFile ${key}`, 'IdentitiesOnly yes'],
    ...[`CertificateFile ${key}-cert.pub`, 'LogLevel ERROR'],
  ]
  for (const [name, cipher] of [...Object.entries(ciphers), ['usual', undefined]] as const) {
    writeFileSync(
      at(`config-${name}`),
      [
        // The first value that ssh finds counts.
        ...(cipher === undefined ? [] : [`Ciphers ${cipher}`]),
        ...around('jumper', port),
        ...around('direct', stack.sshdPort),
        ...around('jumped', stack.sshdPort),
        'ProxyJump jumper',
        usual,
      ].join('\n'),
    )
  }
  return (target, cipher) => ['-F', at(`config-${cipher ?? 'usual'}`), hosts[target]]
}
