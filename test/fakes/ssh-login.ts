/** What control does for the keys of a home: both certificates, out of real authorities; and the agent that may hold one of them. */
import { execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { join } from 'node:path'
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
import type { FakeApi, FakeHandlers } from './api.ts'
import { dev, devId } from './shop.ts'

function createSshAuthority(purpose: SshAuthorityPurpose): SshAuthority {
  return openSshAuthority(purpose, createKeySigner(generateKeyPairSync('ed25519').privateKey))
}

export interface SshLogins {
  /** Signs the SSH certificates of people. */
  readonly people: SshAuthority
  /** Lines: who certifies the proxies' hosts. */
  hosts: string[]
  /** False: people are such as reach no resource by SSH. */
  ssh: boolean
  domain: string
  /** Where the proxy listens. */
  sshPort: number
  validForMs: number
  readonly handlers: FakeHandlers
}

/** Renewing and ending a sign-in. */
export function createSshLogins(api: () => FakeApi): SshLogins {
  const logins: SshLogins = {
    people: createSshAuthority('ssh-people'),
    hosts: [sshPublicKeyLine(createSshAuthority('ssh-hosts').publicKey)],
    ssh: true,
    domain: 'access.localhost',
    sshPort: 12_222,
    validForMs: 8 * 3_600_000,
    handlers: {
      loginRefresh: async ({ body }) => ({
        state: 'done',
        person: dev,
        login: {
          ...{ id: devId, issuer: 'https://id.example', authTimeMs: null, acr: null, amr: [] },
          ...{ begunAtMs: 0, endsAtMs: 1, refreshable: true },
        },
        certificate: await certify(api(), logins, body as Ask),
        home: {
          ...{ realm: 'default', domain: logins.domain, proxyHost: '127.0.0.1' },
          proxyPorts: { postgres: 5, ssh: logins.sshPort },
        },
      }),
      logout: () => ({ done: true, endSessionUrl: null }),
      sshAuthorities: () => ({ people: ['one'], hosts: logins.hosts, upstream: ['two'] }),
    },
  }
  return logins
}

interface Ask {
  readonly requestPem: string
  readonly sshPublicKey: string
}

async function certify(api: FakeApi, logins: SshLogins, { requestPem, sshPublicKey }: Ask) {
  const person = { realm: 'default', personId: randomUUID(), email: dev.email }
  const content = { ...person, validForMs: logins.validForMs, clock: systemClock }
  const issued = await issuePersonCertificate(api.people, { ...content, requestPem })
  const ssh = logins.ssh
    ? await issueSshPersonCertificate(logins.people, {
        ...{ ...content, demo: true, publicKey: parseSshPublicKeyLine(sshPublicKey).blob },
      })
    : undefined
  return {
    ...{ certificatePem: issued.certificatePem, serial: issued.serial },
    ...{ expiresAtMs: issued.expiresAtMs },
    serverAuthoritiesPem: api.proxies.certificatePem,
    controlAuthorityPem: api.control.certificatePem,
    ...(ssh === undefined
      ? {}
      : {
          ssh: {
            certificate: sshPublicKeyLine(ssh.certificate),
            ...{ serial: ssh.serial, expiresAtMs: ssh.expiresAtMs },
          },
        }),
    sshHostAuthorities: logins.hosts,
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
