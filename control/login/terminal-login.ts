/**
 * Signing in while an SSH client waits: the proxy that holds its connection begins the device flow, shows link and code, and asks until
 * somebody was there. No certificate is made; the login itself is what the person is identified by, at that proxy.
 */
import { sleep } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { z } from 'zod'
import type { sshSignInBegun, SshSignInState } from '../api/ssh.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { reachesResources } from '../ssh/reaches-resources.ts'
import { useAttempt, type Attempt } from './attempts.ts'
import { beginLogin, loginDetails, onceMore } from './begin-login.ts'
import { beginDeviceFlow, pollDeviceFlow } from './device-flow.ts'
import type { ProviderAnswer } from './identity-provider.ts'
import { requireSession } from './ended-sessions.ts'
import type { LoginContext } from './login-context.ts'
import { signInRefused } from './login-refusals.ts'
import { actorFor } from './sign-person-in.ts'

type SignedIn = Extract<SshSignInState, { state: 'signed-in' }>

/** Rejects with `sign-in-unavailable` or `rate-limited`. */
export async function beginTerminalLogin(
  context: LoginContext,
  proxyId: string,
  remoteAddress: string,
): Promise<z.output<typeof sshSignInBegun>> {
  const ask = { kind: 'terminal', proxyId } as const
  const { id, begun, endsAtMs } = await beginDeviceFlow(context, ask, remoteAddress)
  return {
    signInId: id,
    url: begun.verificationUrlComplete ?? begun.verificationUrl,
    code: begun.userCode,
    expiresAtMs: endsAtMs,
    // The page is the identity provider's and says nothing of it, so this must.
    notice: `This signs in the SSH client at ${remoteAddress}. Go on only if you started it there yourself: a link that somebody sent you would sign them in as you.`,
  }
}

/** Waits for up to `waitMs`. A sign-in is the proxy's that began it; to any other there is none. Rejects with `sign-in-unavailable`. */
export async function awaitTerminalLogin(
  context: LoginContext,
  proxyId: string,
  ask: { signInId: string; waitMs: number },
  signal: AbortSignal,
): Promise<SshSignInState> {
  const { clock } = context.control
  const dueMs = clock.monotonicMs() + ask.waitMs
  for (;;) {
    try {
      const found = await findCompleted(context, proxyId, ask.signInId)
      if (found !== undefined) return found
      const turn = await pollDeviceFlow(context, 'terminal', ask.signInId, { proxyId })
      if (turn.state === 'done') {
        return await complete(context, proxyId, turn.attempt, turn.answer)
      }
      const leftMs = dueMs - clock.monotonicMs()
      if (leftMs <= 0 || signal.aborted) return { state: 'pending' }
      await sleep(clock, Math.min(leftMs, turn.intervalMs), signal).catch(() => undefined)
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'sign-in-refused') throw error
      context.control.log.info({ proxyId, why: error.message }, 'a sign-in at a terminal failed')
      return { state: 'refused', why: error.clientMessage }
    }
  }
}

async function complete(
  context: LoginContext,
  proxyId: string,
  attempt: Attempt,
  answer: ProviderAnswer,
): Promise<SignedIn> {
  const { control, provider } = context
  const remoteAddress = attempt.remoteAddress ?? ''
  // Nothing refreshes this login, so nothing is kept to do it with.
  const beginning = {
    ...{ attemptId: attempt.id, remoteAddress, proxyId },
    ...{ identity: answer.identity, refreshToken: undefined },
  }
  try {
    const signedIn = await onceMore(() =>
      control.state.transaction(async (sql) => {
        const { person, row } = await beginLogin(sql, context, beginning)
        if (!reachesResources(person.roles)) {
          throw signInRefused('an auditor signs in to no resource', 'read the audit with sally')
        }
        await sql.query('update login_attempts set login_id = $3 where realm = $1 and id = $2', [
          control.realm,
          attempt.id,
          row.id,
        ])
        await appendControlAction(sql, control.chain, actorFor(person, remoteAddress), {
          action: 'login.begun',
          target: row.id,
          details: { flow: 'terminal', proxyId, ...loginDetails(beginning, person, row) },
        })
        return {
          ...({ state: 'signed-in', personId: person.id, personEmail: person.email } as const),
          ...{ loginId: row.id, issuedAtMs: row.begunAtMs, expiresAtMs: row.endsAtMs },
        } as const
      }),
    )
    await requireSession(context, answer.identity, signedIn.loginId, remoteAddress)
    return signedIn
  } catch (error) {
    // The provider's answer came once: there is nothing more to wait for.
    await useAttempt(control.state, control, attempt.id).catch(() => undefined)
    throw error
  } finally {
    const { refreshToken } = answer
    if (refreshToken !== undefined) {
      provider?.revoke(refreshToken).catch((error: unknown) => {
        control.log.warn({ error: String(error) }, 'the provider was not told of a spare token')
      })
    }
  }
}

/** What came of it, if the answer got lost on its way. */
async function findCompleted(
  { control }: LoginContext,
  proxyId: string,
  signInId: string,
): Promise<SignedIn | undefined> {
  const [row] = await control.state.query<Omit<SignedIn, 'state'>>(
    `select l.person_id as "personId", p.email as "personEmail", l.id as "loginId",
       l.begun_at_ms as "issuedAtMs", l.ends_at_ms as "expiresAtMs"
     from login_attempts a join logins l on l.realm = a.realm and l.id = a.login_id
     join people p on p.realm = l.realm and p.id = l.person_id
     where a.realm = $1 and a.id = $2 and a.proxy_id = $3 and l.ended_at_ms is null`,
    [control.realm, signInId, proxyId],
  )
  return row === undefined ? undefined : { state: 'signed-in', ...row }
}
