import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { issueSshPersonCertificate } from '../../../certs/issue-ssh-person.ts'
import { createKeySigner } from '../../../certs/key-signer.ts'
import {
  openSshAuthority,
  type SshAuthority,
  type SshAuthorityPurpose,
} from '../../../certs/ssh-authority.ts'
import { createSshKey } from '../../fakes/ssh-keys.ts'
import { createTestClock } from '../../test-clock.ts'

export const hourMs = 3_600_000

export function newSshAuthority(purpose: SshAuthorityPurpose): SshAuthority {
  return openSshAuthority(purpose, createKeySigner(generateKeyPairSync('ed25519').privateKey))
}

/** One authority per purpose, a person with a key, and how to certify it. */
export function createSshWorld() {
  const clock = createTestClock()
  const people = newSshAuthority('ssh-people')
  const personId = randomUUID()
  const key = createSshKey()
  const common = { realm: 'default', personId, email: 'dev@example.test', clock, demo: false }
  return {
    clock,
    people,
    hosts: newSshAuthority('ssh-hosts'),
    upstream: newSshAuthority('ssh-upstream'),
    personId,
    key,
    person: (more: Partial<Parameters<typeof issueSshPersonCertificate>[1]> = {}) =>
      issueSshPersonCertificate(people, {
        ...{ ...common, publicKey: key.publicKey, validForMs: hourMs },
        ...more,
      }),
  }
}
