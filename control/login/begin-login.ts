import { randomUUID } from 'node:crypto'
import { nowMs } from '../control.ts'
import type { PersonRow } from '../people/person-row.ts'
import { isDuplicate } from '../store/query-error.ts'
import type { Sql } from '../store/store.ts'
import { useAttempt } from './attempts.ts'
import type { ProviderAnswer } from './identity-provider.ts'
import type { LoginContext } from './login-context.ts'
import { sealRefreshToken, type LoginRow } from './login-row.ts'
import { signPersonIn } from './sign-person-in.ts'

export interface LoginBeginning extends ProviderAnswer {
  /** To be used up in the same transaction; undefined if it was already. */
  readonly attemptId: string | undefined
  readonly remoteAddress: string
  /** Of a sign-in at a terminal: the proxy that holds it. */
  readonly proxyId?: string
}

/** The person and the login, in the caller's transaction. Rejects with `sign-in-refused`. */
export async function beginLogin(
  sql: Sql,
  context: LoginContext,
  beginning: LoginBeginning,
): Promise<{ person: PersonRow; row: LoginRow }> {
  const { control } = context
  const { identity, remoteAddress, attemptId } = beginning
  if (attemptId !== undefined) await useAttempt(sql, control, attemptId)
  const person = await signPersonIn(sql, context, identity, remoteAddress)
  const atMs = nowMs(control.clock)
  const id = randomUUID()
  const row: LoginRow = {
    id,
    personId: person.id,
    issuer: identity.issuer,
    authTimeMs: identity.authTimeMs,
    acr: identity.acr,
    amr: [...identity.amr],
    begunAtMs: atMs,
    endsAtMs: atMs + control.settings.loginMs,
    endedAtMs: null,
    sealedRefreshToken: sealRefreshToken(control, id, beginning.refreshToken),
    refreshingUntilMs: 0,
    proxyId: beginning.proxyId ?? null,
    sid: identity.sid ?? null,
  }
  await sql.query(
    `insert into logins (realm, id, person_id, issuer, auth_time_ms, acr, amr, begun_at_ms, ends_at_ms,
       sealed_refresh_token, proxy_id, sid)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
    [
      ...[control.realm, id, row.personId, row.issuer, row.authTimeMs, row.acr, row.amr],
      ...[row.begunAtMs, row.endsAtMs, row.sealedRefreshToken, row.proxyId, row.sid],
    ],
  )
  return { person, row }
}

/** Runs it again for who signs in twice at once for the first time: the other one has added the person by now. */
export async function onceMore<T>(complete: () => Promise<T>): Promise<T> {
  try {
    return await complete()
  } catch (error) {
    if (isDuplicate(error)) return complete()
    throw error
  }
}

/** What the chain says of any sign-in. */
export function loginDetails(
  { identity }: LoginBeginning,
  person: PersonRow,
  row: LoginRow,
): Readonly<Record<string, unknown>> {
  return {
    ...{ issuer: row.issuer, subject: identity.subject, groups: person.groups },
    ...{ roles: person.roles, authTimeMs: row.authTimeMs, acr: row.acr, amr: row.amr },
    endsAtMs: row.endsAtMs,
  }
}
