import type { z } from 'zod'
import type { loginRefresh, SignedIn } from '../api/login.ts'
import { openRequest } from '../../certs/request.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor } from '../control.ts'
import { issueForPerson, sshDetails } from '../issue/issue-certificate.ts'
import { conflict } from '../refusals.ts'
import { openSshKey } from '../ssh/open-ssh-key.ts'
import { signedInOf } from './complete-login.ts'
import { endLogin } from './end-login.ts'
import type { ProviderAnswer } from './identity-provider.ts'
import { requireProvider, type LoginContext } from './login-context.ts'
import { signInRefused } from './login-refusals.ts'
import { loginColumns, sealRefreshToken, unsealRefreshToken, type LoginRow } from './login-row.ts'
import { signPersonIn } from './sign-person-in.ts'

/** Longer than the provider is given to answer. */
const claimMs = 45_000
const again = 'sign in again: sally login'

/**
 * A new certificate within the login's end, after asking the provider again: who was disabled there is out, and new groups count. Rejects
 * with `conflict`, `sign-in-refused` (then the login is ended) or `sign-in-unavailable` (then it goes on).
 */
export async function refreshLogin(
  context: LoginContext,
  actor: Actor,
  loginId: string | undefined,
  ask: z.output<typeof loginRefresh>,
): Promise<SignedIn> {
  const { control } = context
  const provider = requireProvider(context)
  const { requestPem, sshPublicKey } = ask
  await openRequest(requestPem)
  if (sshPublicKey !== undefined) openSshKey(sshPublicKey)
  if (loginId === undefined) {
    throw conflict('this certificate is not of a sign-in, so it cannot be refreshed', again)
  }
  const claimed = await claim(context, loginId)
  let answer: ProviderAnswer
  try {
    answer = await provider.refresh(claimed.refreshToken, claimed.subject)
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'sign-in-refused') {
      await endLogin(context, actor, loginId, 'the identity provider refused to go on')
    } else {
      await release(context, loginId)
    }
    throw error
  }
  return control.state.transaction(async (sql) => {
    const { realm, clock, settings } = control
    const person = await signPersonIn(sql, context, answer.identity, actor.remoteAddress)
    const row = await lockLogin(sql, context, loginId)
    if (person.id !== row.personId) throw signInRefused('this login is of somebody else', again)
    const atMs = nowMs(clock)
    const { identity, refreshToken } = answer
    // A provider that rotates them gives a new one; one that does not, means the old one to be used again.
    const sealed = sealRefreshToken(control, loginId, refreshToken ?? claimed.refreshToken)
    const next: LoginRow = {
      ...row,
      authTimeMs: identity.authTimeMs ?? row.authTimeMs,
      acr: identity.acr ?? row.acr,
      amr: identity.amr.length === 0 ? row.amr : [...identity.amr],
      sealedRefreshToken: sealed,
    }
    await sql.query(
      `update logins set auth_time_ms = $3, acr = $4, amr = $5, sealed_refresh_token = $6,
         refreshing_until_ms = 0 where realm = $1 and id = $2`,
      [realm, loginId, next.authTimeMs, next.acr, next.amr, sealed],
    )
    const certificate = await issueForPerson(sql, control, person, {
      requestPem,
      sshPublicKey,
      validForMs: Math.min(row.endsAtMs - atMs, settings.personCertificateMs),
      login: row,
    })
    await appendControlAction(sql, control.chain, actor, {
      action: 'login.refreshed',
      target: loginId,
      details: {
        ...{ serial: certificate.serial, ...sshDetails(certificate) },
        ...{ groups: person.groups, roles: person.roles },
      },
    })
    return signedInOf(sql, context, person, next, certificate)
  })
}

/** Nobody else refreshes it meanwhile: providers take a refresh token once, and a second use looks like theft. */
async function claim(
  context: LoginContext,
  loginId: string,
): Promise<{ refreshToken: string; subject: string }> {
  const { control } = context
  const { realm } = control
  const { issuer } = requireProvider(context).settings
  return control.state.transaction(async (sql) => {
    const row = await lockLogin(sql, context, loginId)
    const atMs = nowMs(control.clock)
    if (row.sealedRefreshToken === null) {
      throw conflict('the identity provider gave nothing to refresh this sign-in with', again)
    }
    if (row.issuer !== issuer) {
      throw conflict('control has another identity provider since you signed in', again)
    }
    if (row.refreshingUntilMs > atMs) {
      throw new SallyportError('rate-limited', `login ${loginId} is being refreshed`, {
        clientMessage: 'this login is being refreshed already',
        hint: 'wait a minute, then try again: sally login --refresh',
      })
    }
    await sql.query('update logins set refreshing_until_ms = $3 where realm = $1 and id = $2', [
      realm,
      loginId,
      atMs + claimMs,
    ])
    const [person] = await sql.query<{ subject: string }>(
      'select subject from people where realm = $1 and id = $2',
      [realm, row.personId],
    )
    return {
      refreshToken: unsealRefreshToken(control, loginId, row.sealedRefreshToken),
      subject: person!.subject,
    }
  })
}

async function release({ control }: LoginContext, loginId: string): Promise<void> {
  await control.state.query(
    'update logins set refreshing_until_ms = 0 where realm = $1 and id = $2',
    [control.realm, loginId],
  )
}

async function lockLogin(
  sql: Parameters<typeof signPersonIn>[0],
  { control }: LoginContext,
  loginId: string,
): Promise<LoginRow> {
  const [row] = await sql.query<LoginRow>(
    `select ${loginColumns} from logins where realm = $1 and id = $2 for update`,
    [control.realm, loginId],
  )
  if (row === undefined || row.endedAtMs !== null || row.endsAtMs <= nowMs(control.clock)) {
    throw signInRefused('this login has ended', again)
  }
  return row
}
