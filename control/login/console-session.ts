/** A browser's session at the console: a random secret in a cookie of the console's origin, kept here as its digest. */
import { createHash, createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import type { Role } from '../api/names.ts'
import { nowMs, type Control } from '../control.ts'
import type { Sql } from '../store/store.ts'
import type { LoginRow } from './login-row.ts'

/** Who is signed in at the console, as they are now. */
export interface ConsolePerson {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly roles: readonly Role[]
  readonly groups: readonly string[]
  readonly sessionId: string
  readonly loginId: string
  readonly issuer: string
  /** Of the session at the provider. */
  readonly sid: string | null
  readonly endsAtMs: number
  /** What each form of this session carries: no other site knows it. */
  readonly formToken: string
}

const secretShape = /^[A-Za-z0-9_-]{43}$/

/** In the caller's transaction. The secret is for the cookie, and nowhere else. */
export async function beginConsoleSession(
  sql: Sql,
  control: Pick<Control, 'realm' | 'clock'>,
  login: LoginRow,
  remoteAddress: string,
): Promise<string> {
  const secret = randomBytes(32).toString('base64url')
  await sql.query(
    `insert into console_sessions (realm, id, secret_hash, login_id, person_id, remote_address,
       begun_at_ms, ends_at_ms) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      ...[control.realm, randomUUID(), digestOf(secret), login.id, login.personId, remoteAddress],
      ...[nowMs(control.clock), login.endsAtMs],
    ],
  )
  return secret
}

/** Undefined for whatever counts no more: session, sign-in or person. */
export async function findConsoleSession(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  secret: string | undefined,
): Promise<ConsolePerson | undefined> {
  if (secret === undefined || !secretShape.test(secret)) return undefined
  const [row] = await state.query<Omit<ConsolePerson, 'formToken'>>(
    `select p.id, p.email, p.name, p.roles, p.groups, s.id as "sessionId", l.id as "loginId",
       l.issuer, l.sid, s.ends_at_ms as "endsAtMs"
     from console_sessions s
     join logins l on l.realm = s.realm and l.id = s.login_id
     join people p on p.realm = s.realm and p.id = s.person_id and p.id = l.person_id
     where s.realm = $1 and s.secret_hash = $2 and s.ended_at_ms is null and s.ends_at_ms > $3
       and l.ended_at_ms is null and l.ends_at_ms > $3 and p.state = 'active'
       and l.begun_at_ms >= p.certificates_valid_from_ms`,
    [realm, digestOf(secret), nowMs(clock)],
  )
  return row === undefined ? undefined : { ...row, formToken: formTokenOf(secret) }
}

export function isFormToken(person: ConsolePerson, given: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(person.formToken))
}

function formTokenOf(secret: string): string {
  return createHmac('sha256', secret).update('sallyport form').digest('base64url')
}

function digestOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
