import { randomUUID } from 'node:crypto'
import type { SignedIn } from '../api/login.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs } from '../control.ts'
import { issueForPerson } from '../issue/issue-certificate.ts'
import { viewOf, type PersonRow } from '../people/person-row.ts'
import { isDuplicate } from '../store/query-error.ts'
import type { Sql } from '../store/store.ts'
import { useAttempt } from './attempts.ts'
import type { ProviderAnswer } from './identity-provider.ts'
import type { LoginContext } from './login-context.ts'
import { loginViewOf, sealRefreshToken, type LoginRow } from './login-row.ts'
import { actorFor, signPersonIn } from './sign-person-in.ts'

export interface Completion extends ProviderAnswer {
  /** To be used up in the same transaction; undefined if it was already. */
  readonly attemptId: string | undefined
  readonly requestPem: string
  readonly remoteAddress: string
  readonly flow: 'device' | 'code'
}

/** Person, login and certificate in one transaction. Rejects with `sign-in-refused`. */
export async function completeLogin(
  context: LoginContext,
  completion: Completion,
): Promise<SignedIn> {
  const complete = (): Promise<SignedIn> =>
    context.control.state.transaction((sql) => completeIn(sql, context, completion))
  try {
    return await complete()
  } catch (error) {
    // Their first two sign-ins at once: the other one has added the person by now.
    if (isDuplicate(error)) return complete()
    throw error
  }
}

async function completeIn(
  sql: Sql,
  context: LoginContext,
  completion: Completion,
): Promise<SignedIn> {
  const { control } = context
  const { realm, clock, settings } = control
  const { identity, remoteAddress, flow, attemptId } = completion
  if (attemptId !== undefined) await useAttempt(sql, control, attemptId)
  const person = await signPersonIn(sql, context, identity, remoteAddress)
  const atMs = nowMs(clock)
  const id = randomUUID()
  const row: LoginRow = {
    id,
    personId: person.id,
    issuer: identity.issuer,
    authTimeMs: identity.authTimeMs,
    acr: identity.acr,
    amr: [...identity.amr],
    begunAtMs: atMs,
    endsAtMs: atMs + settings.loginMs,
    endedAtMs: null,
    sealedRefreshToken: sealRefreshToken(control, id, completion.refreshToken),
    refreshingUntilMs: 0,
  }
  await sql.query(
    `insert into logins (realm, id, person_id, issuer, auth_time_ms, acr, amr, begun_at_ms, ends_at_ms,
       sealed_refresh_token) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      ...[realm, id, row.personId, row.issuer, row.authTimeMs, row.acr, row.amr],
      ...[row.begunAtMs, row.endsAtMs, row.sealedRefreshToken],
    ],
  )
  const certificate = await issueForPerson(sql, control, person, {
    requestPem: completion.requestPem,
    validForMs: Math.min(settings.loginMs, settings.personCertificateMs),
    loginId: id,
  })
  await appendControlAction(sql, control.chain, actorFor(person, remoteAddress), {
    action: 'login.begun',
    target: id,
    details: {
      ...{ flow, issuer: row.issuer, subject: identity.subject, groups: person.groups },
      ...{ roles: person.roles, authTimeMs: row.authTimeMs, acr: row.acr, amr: row.amr },
      ...{ serial: certificate.serial, endsAtMs: row.endsAtMs },
    },
  })
  return signedInOf(sql, context, person, row, certificate)
}

/** The answer to whoever signed in or refreshed. */
export async function signedInOf(
  sql: Sql,
  { control, proxy }: LoginContext,
  person: PersonRow,
  row: LoginRow,
  certificate: SignedIn['certificate'],
): Promise<SignedIn> {
  const [group] = await sql.query<{ domain: string }>(
    `select domain from proxy_groups where realm = $1 and name = 'default'`,
    [control.realm],
  )
  return {
    state: 'done',
    person: viewOf(person),
    login: loginViewOf(row),
    certificate,
    home: {
      realm: control.realm,
      domain: group!.domain,
      ...(proxy === undefined ? {} : { proxyHost: proxy.host }),
      proxyPorts: proxy === undefined ? {} : { postgres: proxy.port },
    },
  }
}
