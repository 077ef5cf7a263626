/** Signing in with a browser on the console's origin: authorization code with PKCE, state and nonce (OpenID Connect Core 1.0, 3.1). */
import { createHash, timingSafeEqual } from 'node:crypto'
import { appendControlAction } from '../chain/append-action.ts'
import { dropAttempt, fillAttempt, lockAttempt, openAttempt, useAttempt } from './attempts.ts'
import { beginLogin, loginDetails, onceMore, type LoginBeginning } from './begin-login.ts'
import { beginConsoleSession, type ConsolePerson } from './console-session.ts'
import { endLogin } from './end-login.ts'
import { requireSession } from './ended-sessions.ts'
import type { CodeChecks } from './identity-provider.ts'
import { requireProvider, type LoginContext } from './login-context.ts'
import { attemptRefused, signInRefused } from './login-refusals.ts'
import { actorFor } from './sign-person-in.ts'

/** At the console's origin; what the provider has to know as a redirect URI, and as the place of back-channel logout. */
export const signInCallbackPath = '/sign-in/callback'
export const backChannelLogoutPath = '/sign-in/back-channel-logout'

export const browserLoginMs = 10 * 60_000

interface Kept {
  readonly checks: CodeChecks
  readonly next: string
}

export interface BrowserLoginBegun {
  readonly id: string
  /** For a cookie of this browser: whoever comes back without it did not begin here. */
  readonly secret: string
  readonly state: string
  readonly authorizationUrl: string
}

/** `next`: a path of ours, where to go on. Rejects with `sign-in-unavailable` or `rate-limited`. */
export async function beginBrowserLogin(
  context: LoginContext,
  remoteAddress: string,
  { redirectUri, next }: { redirectUri: string; next: string },
): Promise<BrowserLoginBegun> {
  const { control } = context
  const provider = requireProvider(context)
  const { id, secret } = await openAttempt(control, { kind: 'browser' }, remoteAddress)
  try {
    const { authorizationUrl, checks } = await provider.startCode(redirectUri, { offline: false })
    const kept = JSON.stringify({ checks, next } satisfies Kept)
    await fillAttempt(control, id, { kept, intervalMs: 0, lifeMs: browserLoginMs })
    return { id, secret, state: checks.state, authorizationUrl }
  } catch (error) {
    await dropAttempt(control, id)
    throw error
  }
}

/** What the provider sent the browser back with (RFC 6749, 4.1.2; RFC 9207). */
export interface BrowserLoginAnswer {
  readonly state: string
  readonly code?: string | undefined
  readonly iss?: string | undefined
}

/**
 * One try: whatever comes of it, the attempt is over. A new session each time, whatever the browser had: nothing is to be fixed beforehand.
 * `before`: who was signed in here until now; somebody else ends them. Rejects with `sign-in-refused` or `sign-in-unavailable`.
 */
export async function finishBrowserLogin(
  context: LoginContext,
  remoteAddress: string,
  held: { id: string; secret: string },
  given: BrowserLoginAnswer,
  before: ConsolePerson | undefined,
): Promise<{ secret: string; next: string; endsAtMs: number }> {
  const { control } = context
  const provider = requireProvider(context)
  const { kept } = await control.state.transaction(async (sql) => {
    const found = await lockAttempt(sql, control, 'browser', held.id, { secret: held.secret })
    await useAttempt(sql, control, held.id)
    return found
  })
  const { checks, next } = JSON.parse(kept) as Kept
  if (!isSame(given.state, checks.state)) throw attemptRefused('another state')
  if (given.code === undefined) {
    throw signInRefused('the identity provider did not let you in', 'begin again')
  }
  const { identity, refreshToken } = await provider.finishCode(
    { ...given, code: given.code },
    checks,
  )
  if (refreshToken !== undefined) {
    // Nothing refreshes this login, so nothing is kept to do it with.
    provider.revoke(refreshToken).catch((error: unknown) => {
      control.log.warn({ error: String(error) }, 'the provider was not told of a spare token')
    })
  }
  const beginning: LoginBeginning = {
    ...{ attemptId: undefined, remoteAddress, identity, refreshToken: undefined },
  }
  const begun = await onceMore(() =>
    control.state.transaction(async (sql) => {
      const { person, row } = await beginLogin(sql, context, beginning)
      const secret = await beginConsoleSession(sql, control, row, remoteAddress)
      await appendControlAction(sql, control.chain, actorFor(person, remoteAddress), {
        action: 'login.begun',
        target: row.id,
        details: { flow: 'browser', ...loginDetails(beginning, person, row) },
      })
      return { id: row.id, personId: person.id, sid: row.sid, secret, endsAtMs: row.endsAtMs }
    }),
  )
  await requireSession(context, identity, begun.id, remoteAddress)
  // One of the same person and session at the provider ends with this one (sign-out-browser.ts): two tabs signed in at once.
  const endsAlike = before?.id === begun.personId && begun.sid !== null && before.sid === begun.sid
  if (before !== undefined && !endsAlike) {
    const actor = { id: before.id, email: before.email, remoteAddress }
    await endLogin(context, actor, before.loginId, 'signed in anew with the same browser')
  }
  return { secret: begun.secret, next, endsAtMs: begun.endsAtMs }
}

function isSame(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
