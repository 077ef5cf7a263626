/** Sign-ins that have begun: rows, so that any replica can go on with what another one began. */
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import { openRequest } from '../../certs/request.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { networkOf } from '../../protocols/kit/network-of.ts'
import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import { nowMs, type Control } from '../control.ts'
import { takeLock } from '../store/advisory-lock.ts'
import { openSshKey } from '../ssh/open-ssh-key.ts'
import type { Sql } from '../store/store.ts'
import { attemptRefused } from './login-refusals.ts'

export type AttemptKind = 'device' | 'code' | 'terminal' | 'browser'

export interface Attempt {
  readonly id: string
  /** Null at a terminal and in a browser: no certificate is made. */
  readonly requestPem: string | null
  readonly sshPublicKey: string | null
  /** Of the client that waits at a terminal. */
  readonly remoteAddress: string | null
  readonly intervalMs: number
  readonly polledAtMs: number | null
  readonly endsAtMs: number
  readonly usedAtMs: number | null
  /** What the provider gave, opened. */
  readonly kept: string
}

/** Who may go on with an attempt: whoever knows its secret, or the proxy that began it. */
export type AttemptHolder =
  | { readonly secret: string; readonly proxyId?: never }
  | { readonly proxyId: string; readonly secret?: never }

/** What is settled when it begins. */
export type AttemptAsk =
  | {
      readonly kind: 'device' | 'code'
      readonly requestPem: string
      readonly sshPublicKey?: string
    }
  | { readonly kind: 'terminal'; readonly proxyId: string }
  | { readonly kind: 'browser' }

interface AttemptRow extends Omit<Attempt, 'kept'> {
  readonly proxyId: string | null
  readonly secretHash: Buffer
  readonly sealed: Buffer | null
}

/**
 * How many may be under way: of one network, and in all. Both hold over all replicas. Terminals count by themselves: strangers who only
 * connect must not keep people from `sally login`. One that no proxy has waited with for a minute has been left.
 */
export const attemptsMax = {
  page: { perNetwork: 30, overall: 2_000 },
  terminal: { perNetwork: 10, overall: 500 },
} as const
const leftMs = 60_000
const startMsMax = 60_000
const keptAfterEndMs = 3_600_000

/**
 * Takes a place for a new attempt before the provider is asked, so that strangers cannot make control ask it without end. Rejects
 * with `request-invalid` or `rate-limited`.
 */
export async function openAttempt(
  control: Control,
  ask: AttemptAsk,
  remoteAddress: string,
): Promise<{ id: string; secret: string }> {
  const { kind } = ask
  if ('requestPem' in ask) {
    await openRequest(ask.requestPem)
    if (ask.sshPublicKey !== undefined) openSshKey(ask.sshPublicKey)
  }
  const max = attemptsMax[kind === 'terminal' ? 'terminal' : 'page']
  const { realm, state, clock } = control
  const id = randomUUID()
  const secret = randomBytes(32)
  const network = networkOf(remoteAddress)
  const atMs = nowMs(clock)
  await state.transaction(async (sql) => {
    await takeLock(sql, 'logins', realm)
    await sql.query('delete from login_attempts where realm = $1 and ends_at_ms < $2', [
      realm,
      atMs - keptAfterEndMs,
    ])
    const [counted] = await sql.query<{ here: number; all: number }>(
      `select count(*) filter (where remote_network = $3) as here, count(*) as "all"
       from login_attempts where realm = $1 and ends_at_ms > $2 and used_at_ms is null
         and (kind = 'terminal') = $4
         and (kind <> 'terminal' or coalesce(polled_at_ms, begun_at_ms) > $2 - ${leftMs})`,
      [realm, atMs, network, kind === 'terminal'],
    )
    if (counted!.here >= max.perNetwork || counted!.all >= max.overall) {
      throw new SallyportError('rate-limited', `too many sign-ins under way from ${network}`, {
        clientMessage: 'too many sign-ins have begun and not ended',
        hint: 'finish one of them, or wait a few minutes: sally login',
      })
    }
    await sql.query(
      `insert into login_attempts (realm, id, kind, secret_hash, request_pem, ssh_public_key,
         proxy_id, remote_address, remote_network, interval_ms, begun_at_ms, ends_at_ms)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11)`,
      [
        ...[realm, id, kind, digestOf(secret)],
        ...('requestPem' in ask
          ? [ask.requestPem, ask.sshPublicKey ?? null, null]
          : [null, null, 'proxyId' in ask ? ask.proxyId : null]),
        ...[remoteAddress, network, atMs, atMs + startMsMax],
      ],
    )
  })
  return { id, secret: secret.toString('base64url') }
}

/** Keeps what the provider answered, and settles when the attempt ends. */
export async function fillAttempt(
  control: Control,
  id: string,
  what: { kept: string; intervalMs: number; lifeMs: number },
): Promise<{ endsAtMs: number }> {
  const { realm, state, clock, keys } = control
  const endsAtMs = nowMs(clock) + what.lifeMs
  const sealed = seal(keys.loginKey, Buffer.from(what.kept), labelOf(realm, id))
  await state.query(
    `update login_attempts set sealed = $3, interval_ms = $4, ends_at_ms = $5
     where realm = $1 and id = $2`,
    [realm, id, sealed, what.intervalMs, endsAtMs],
  )
  return { endsAtMs }
}

/** For one that the provider would not begin. */
export async function dropAttempt(control: Control, id: string): Promise<void> {
  await control.state.query('delete from login_attempts where realm = $1 and id = $2', [
    control.realm,
    id,
  ])
}

/** The attempt, locked to the commit, if it is the holder's own and not over. Rejects with `sign-in-refused`. */
export async function lockAttempt(
  sql: Sql,
  control: Control,
  kind: AttemptKind,
  id: string,
  holder: AttemptHolder,
): Promise<Attempt> {
  const { realm, keys } = control
  const [row] = await sql.query<AttemptRow>(
    `select id, request_pem as "requestPem", ssh_public_key as "sshPublicKey",
       proxy_id as "proxyId", remote_address as "remoteAddress", interval_ms as "intervalMs",
       polled_at_ms as "polledAtMs", ends_at_ms as "endsAtMs", used_at_ms as "usedAtMs",
       secret_hash as "secretHash", sealed
     from login_attempts where realm = $1 and id = $2 and kind = $3 for update`,
    [realm, id, kind],
  )
  if (row === undefined) throw attemptRefused('there is none with this id')
  if (!isHeldBy(row, holder)) throw attemptRefused('another secret, or another proxy')
  if (row.usedAtMs !== null) throw attemptRefused('it was used before')
  if (row.endsAtMs <= nowMs(control.clock)) throw attemptRefused('it is over')
  if (row.sealed === null) throw attemptRefused('it has not begun at the provider')
  const kept = unseal(keys.loginKey, row.sealed, labelOf(realm, id)).toString('utf8')
  return { ...row, kept }
}

/** One use: rejects with `sign-in-refused` for whoever comes second. */
export async function useAttempt(sql: Sql, control: Control, id: string): Promise<void> {
  const used = await sql.query(
    `update login_attempts set used_at_ms = $3, sealed = null
     where realm = $1 and id = $2 and used_at_ms is null returning id`,
    [control.realm, id, nowMs(control.clock)],
  )
  if (used.length === 0) throw attemptRefused('it was used before')
}

function isHeldBy(row: AttemptRow, holder: AttemptHolder): boolean {
  if (holder.secret === undefined) return row.proxyId === holder.proxyId
  const digest = digestOf(Buffer.from(holder.secret, 'base64url'))
  return row.proxyId === null && timingSafeEqual(row.secretHash, digest)
}

function digestOf(secret: Buffer): Buffer {
  return createHash('sha256').update(secret).digest()
}

function labelOf(realm: string, id: string): string {
  return `sallyport login attempt|${realm}|${id}`
}
