/**
 * Control's keys and authorities. They live in the database, sealed under a key that does not: replicas share the database
 * and one small file. Each use has a key of its own, so that nothing signed for one passes for another.
 */
import { createPublicKey, randomBytes } from 'node:crypto'
import {
  authorityPurposes,
  createAuthority,
  openAuthority,
  type Authority,
  type AuthorityPurpose,
} from '../../certs/authority.ts'
import { createSealedSigner, openSealedSigner } from '../../certs/sealed-signer.ts'
import type { Signer } from '../../certs/signer.ts'
import {
  openSshAuthority,
  sshAuthorityPurposes,
  type SshAuthority,
  type SshAuthorityPurpose,
} from '../../certs/ssh-authority.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import { encodeSshPublicKey, sshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'
import { nowMs } from '../control.ts'
import { takeLock } from '../store/advisory-lock.ts'
import type { Sql, Store } from '../store/store.ts'

const signingUses = ['grants', 'leases', 'audit'] as const
type SigningUse = (typeof signingUses)[number]
type KeyUse = SigningUse | `${AuthorityPurpose | SshAuthorityPurpose}-authority`

export interface ControlKeys {
  readonly signers: Readonly<Record<SigningUse, Signer>>
  readonly authorities: Readonly<Record<AuthorityPurpose, Authority>>
  /** PEM of all that are valid: the one that issues, and retired ones whose certificates still run. */
  readonly authoritiesPem: Readonly<Record<AuthorityPurpose, readonly string[]>>
  readonly sshAuthorities: Readonly<Record<SshAuthorityPurpose, SshAuthority>>
  /** Lines of public keys of all that are valid, retired ones whose certificates still run included. */
  readonly sshAuthorityLines: Readonly<Record<SshAuthorityPurpose, readonly string[]>>
  /** Public halves of grants', leases' and audit keys, retired ones included: what proxies verify with. */
  readonly verificationKeys: readonly { readonly kid: string; readonly publicKeyPem: string }[]
  /** 32 bytes; encrypts payloads of control's own chain. */
  readonly chainKey: Buffer
  /** 32 bytes; seals what sign-ins keep: device codes, verifiers, refresh tokens. */
  readonly loginKey: Buffer
}

interface KeyRow {
  readonly kid: string
  readonly use: KeyUse
  readonly public_key_pem: string
  readonly sealed_private_key: Buffer
  readonly certificate_pem: string | null
  readonly retired_at_ms: number | null
}

interface KeyScope {
  readonly realm: string
  readonly demo: boolean
  readonly sealingKey: Buffer
  readonly clock: Clock
}

/** Opens all keys, and makes those that are missing. Rejects with `sealed-file-invalid` for another sealing key. */
export async function openKeys(state: Store, scope: KeyScope): Promise<ControlKeys> {
  const { rows, chainKey, loginKey } = await state.transaction(async (sql) => {
    // Replicas that start together must agree on one set.
    await takeLock(sql, 'keys', scope.realm)
    for (const use of signingUses) {
      await makeIfMissing(sql, scope, use, 'EdDSA')
    }
    for (const purpose of authorityPurposes) {
      await makeIfMissing(sql, scope, `${purpose}-authority`, 'ES256', purpose)
    }
    for (const purpose of sshAuthorityPurposes) {
      await makeIfMissing(sql, scope, `${purpose}-authority`, 'EdDSA')
    }
    return {
      rows: await sql.query<KeyRow>(
        'select * from signing_keys where realm = $1 order by created_at_ms desc',
        [scope.realm],
      ),
      chainKey: await openDataKey(sql, scope, 'chain'),
      loginKey: await openDataKey(sql, scope, 'logins'),
    }
  })
  const inUse = (use: KeyUse): KeyRow =>
    rows.find((row) => row.use === use && row.retired_at_ms === null)!
  const authority = (purpose: AuthorityPurpose): Authority => {
    const row = inUse(`${purpose}-authority`)
    return openAuthority({
      purpose,
      certificatePem: row.certificate_pem!,
      signer: openSigner(scope, row),
    })
  }
  const pems = (purpose: AuthorityPurpose): string[] =>
    rows.flatMap((row) =>
      row.use === `${purpose}-authority` && row.certificate_pem !== null
        ? [row.certificate_pem]
        : [],
    )
  const sshAuthority = (purpose: SshAuthorityPurpose): SshAuthority =>
    openSshAuthority(purpose, openSigner(scope, inUse(`${purpose}-authority`)))
  const sshLines = (purpose: SshAuthorityPurpose): string[] =>
    rows
      .filter(({ use }) => use === `${purpose}-authority`)
      .map((row) => sshPublicKeyLine(encodeSshPublicKey(createPublicKey(row.public_key_pem))))
  return {
    signers: {
      grants: openSigner(scope, inUse('grants')),
      leases: openSigner(scope, inUse('leases')),
      audit: openSigner(scope, inUse('audit')),
    },
    authorities: {
      people: authority('people'),
      proxies: authority('proxies'),
      control: authority('control'),
    },
    authoritiesPem: {
      people: pems('people'),
      proxies: pems('proxies'),
      control: pems('control'),
    },
    sshAuthorities: {
      'ssh-people': sshAuthority('ssh-people'),
      'ssh-hosts': sshAuthority('ssh-hosts'),
      'ssh-upstream': sshAuthority('ssh-upstream'),
    },
    sshAuthorityLines: {
      'ssh-people': sshLines('ssh-people'),
      'ssh-hosts': sshLines('ssh-hosts'),
      'ssh-upstream': sshLines('ssh-upstream'),
    },
    verificationKeys: rows
      .filter((row) => signingUses.some((use) => use === row.use))
      .map((row) => ({ kid: row.kid, publicKeyPem: row.public_key_pem })),
    chainKey,
    loginKey,
  }
}

async function makeIfMissing(
  sql: Sql,
  scope: KeyScope,
  use: KeyUse,
  algorithm: Signer['algorithm'],
  purpose?: AuthorityPurpose,
): Promise<void> {
  const { realm, demo, clock } = scope
  const found = await sql.query(
    'select 1 from signing_keys where realm = $1 and use = $2 and retired_at_ms is null',
    [realm, use],
  )
  if (found.length > 0) return
  const { signer, sealed } = createSealedSigner({
    sealingKey: scope.sealingKey,
    algorithm,
    label: (kid) => keyLabel(realm, use, kid),
  })
  const certificatePem =
    purpose === undefined
      ? null
      : (await createAuthority({ purpose, realm, signer, clock, demo })).certificatePem
  await sql.query(
    `insert into signing_keys (realm, kid, use, algorithm, public_key_pem, sealed_private_key,
       certificate_pem, created_at_ms) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      realm,
      signer.kid,
      use,
      signer.algorithm,
      signer.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      sealed,
      certificatePem,
      nowMs(clock),
    ],
  )
}

function openSigner({ realm, sealingKey }: KeyScope, row: KeyRow): Signer {
  const label = keyLabel(realm, row.use, row.kid)
  const signer = explained(label, () =>
    openSealedSigner({ sealed: row.sealed_private_key, sealingKey, label }),
  )
  if (signer.kid !== row.kid) {
    throw new SallyportError('config-invalid', `key ${row.kid} holds another key, ${signer.kid}`)
  }
  return signer
}

async function openDataKey(
  sql: Sql,
  { realm, sealingKey, clock }: KeyScope,
  purpose: 'chain' | 'logins',
): Promise<Buffer> {
  const label = `sallyport control data key|${realm}|${purpose}`
  await sql.query(
    `insert into data_keys (realm, purpose, sealed_key, created_at_ms)
     values ($1, $2, $3, $4) on conflict do nothing`,
    [realm, purpose, seal(sealingKey, randomBytes(32), label), nowMs(clock)],
  )
  const [row] = await sql.query<{ sealed_key: Buffer }>(
    `select sealed_key from data_keys where realm = $1 and purpose = $2`,
    [realm, purpose],
  )
  return explained(label, () => unseal(sealingKey, row!.sealed_key, label))
}

function explained<T>(label: string, open: () => T): T {
  try {
    return open()
  } catch (error) {
    throw new SallyportError('sealed-file-invalid', `${label}: ${String(error)}`, {
      clientMessage: 'the keys in the database were sealed with another sealing key',
      hint: 'give the sealing key that this database was first started with (SALLYPORT_SEALING_KEY_FILE)',
      cause: error,
    })
  }
}

function keyLabel(realm: string, use: KeyUse, kid: string): string {
  return `sallyport control key|${realm}|${use}|${kid}`
}
