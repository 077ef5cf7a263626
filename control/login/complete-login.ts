import type { SignedIn } from '../api/login.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { issueForPerson, sshDetails } from '../issue/issue-certificate.ts'
import { viewOf, type PersonRow } from '../people/person-row.ts'
import type { Sql } from '../store/store.ts'
import type { Attempt } from './attempts.ts'
import { beginLogin, loginDetails, onceMore, type LoginBeginning } from './begin-login.ts'
import { requireSession } from './ended-sessions.ts'
import type { LoginContext } from './login-context.ts'
import { attemptRefused } from './login-refusals.ts'
import { loginViewOf, type LoginRow } from './login-row.ts'
import { actorFor } from './sign-person-in.ts'

export interface Completion extends LoginBeginning {
  /** The keys that were settled when it began. */
  readonly attempt: Pick<Attempt, 'requestPem' | 'sshPublicKey'>
  readonly flow: 'device' | 'code'
}

/** Person, login and certificate in one transaction. Rejects with `sign-in-refused`. */
export async function completeLogin(
  context: LoginContext,
  completion: Completion,
): Promise<SignedIn> {
  const signedIn = await onceMore(() =>
    context.control.state.transaction((sql) => completeIn(sql, context, completion)),
  )
  const { identity, remoteAddress } = completion
  await requireSession(context, identity, signedIn.login.id, remoteAddress)
  return signedIn
}

async function completeIn(
  sql: Sql,
  context: LoginContext,
  completion: Completion,
): Promise<SignedIn> {
  const { control } = context
  const { settings } = control
  const { remoteAddress, flow, attempt } = completion
  if (attempt.requestPem === null) throw attemptRefused('it is for no certificate')
  const { person, row } = await beginLogin(sql, context, completion)
  const certificate = await issueForPerson(sql, control, person, {
    requestPem: attempt.requestPem,
    sshPublicKey: attempt.sshPublicKey ?? undefined,
    validForMs: Math.min(settings.loginMs, settings.personCertificateMs),
    login: row,
  })
  await appendControlAction(sql, control.chain, actorFor(person, remoteAddress), {
    action: 'login.begun',
    target: row.id,
    details: {
      ...{ flow, ...loginDetails(completion, person, row) },
      ...{ serial: certificate.serial, ...sshDetails(certificate) },
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
      proxyPorts: proxy?.ports ?? {},
    },
  }
}
