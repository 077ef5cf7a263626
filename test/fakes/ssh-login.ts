/** What control does for the keys of a home: both certificates, out of real authorities; and the agent that may hold one of them. */
import { execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Authority } from '../../certs/authority.ts'
import { issuePersonCertificate } from '../../certs/issue-person.ts'
import { issueSshPersonCertificate } from '../../certs/issue-ssh-person.ts'
import { createKeySigner } from '../../certs/key-signer.ts'
import {
  openSshAuthority,
  type SshAuthority,
  type SshAuthorityPurpose,
} from '../../certs/ssh-authority.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { parseSshPublicKeyLine, sshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'

export function createSshAuthority(purpose: SshAuthorityPurpose): SshAuthority {
  return openSshAuthority(purpose, createKeySigner(generateKeyPairSync('ed25519').privateKey))
}

/** The `certificate` of an answer. `ssh` false: as for an auditor. */
export async function certifyHome(
  authorities: { people: Authority; proxies: Authority; control: Authority },
  sshAuthorities: { people: SshAuthority; hosts: SshAuthority },
  ask: { requestPem: string; sshPublicKey?: string | undefined },
  how: { validForMs?: number; ssh?: boolean } = {},
) {
  const validForMs = how.validForMs ?? 8 * 3_600_000
  const person = { realm: 'default', personId: randomUUID(), email: 'dev@example.test' }
  const content = { ...person, validForMs, clock: systemClock }
  const { requestPem, sshPublicKey } = ask
  const issued = await issuePersonCertificate(authorities.people, { ...content, requestPem })
  const ssh =
    sshPublicKey === undefined || how.ssh === false
      ? undefined
      : await issueSshPersonCertificate(sshAuthorities.people, {
          ...{ ...content, demo: true, publicKey: parseSshPublicKeyLine(sshPublicKey).blob },
        })
  return {
    ...{ certificatePem: issued.certificatePem, serial: issued.serial },
    ...{ expiresAtMs: issued.expiresAtMs },
    serverAuthoritiesPem: authorities.proxies.certificatePem,
    controlAuthorityPem: authorities.control.certificatePem,
    ...(ssh === undefined
      ? {}
      : {
          ssh: {
            certificate: sshPublicKeyLine(ssh.certificate),
            ...{ serial: ssh.serial, expiresAtMs: ssh.expiresAtMs },
          },
        }),
    sshHostAuthorities: [sshPublicKeyLine(sshAuthorities.hosts.publicKey)],
  }
}

export interface RunningAgent {
  /** As SSH_AUTH_SOCK. */
  readonly socket: string
  /** What `ssh-add -L` says: a line per key. */
  list(): string[]
  clear(): void
  stop(): void
}

/** OpenSSH's own, in the foreground, so that it ends with the test. */
export async function startAgent(folder: string): Promise<RunningAgent> {
  const socket = join(folder, 'agent')
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] })
  await new Promise((resolve) => agent.stdout.once('data', resolve))
  const env = { ...process.env, SSH_AUTH_SOCK: socket }
  const add = (word: string): string =>
    execFileSync('ssh-add', [word], { env, encoding: 'utf8', stdio: 'pipe' })
  return {
    socket,
    list() {
      try {
        return add('-L').trimEnd().split('\n')
      } catch {
        return []
      }
    },
    clear: () => void add('-D'),
    stop: () => void agent.kill(),
  }
}
