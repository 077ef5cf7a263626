/** Signing in with a browser on the same machine: authorization code with PKCE to a loopback address (RFC 8252, RFC 7636). */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { z } from 'zod'
import type { CodeBegun, codeBegin, codeFinish, SignedIn } from '../api/login.ts'
import { keysOf } from './keys-of.ts'
import { dropAttempt, fillAttempt, lockAttempt, openAttempt, useAttempt } from './attempts.ts'
import { completeLogin } from './complete-login.ts'
import type { CodeChecks } from './identity-provider.ts'
import { requireProvider, type LoginContext } from './login-context.ts'
import { attemptRefused } from './login-refusals.ts'

const lifeMs = 10 * 60_000

/** Rejects with `sign-in-unavailable`, `request-invalid` or `rate-limited`. */
export async function beginCodeLogin(
  context: LoginContext,
  remoteAddress: string,
  ask: z.output<typeof codeBegin>,
): Promise<CodeBegun> {
  const { control } = context
  const provider = requireProvider(context)
  const { id, secret } = await openAttempt(control, { kind: 'code', ...keysOf(ask) }, remoteAddress)
  try {
    const { authorizationUrl, checks } = await provider.startCode(ask.redirectUri)
    const kept = JSON.stringify(checks)
    const { endsAtMs } = await fillAttempt(control, id, { kept, intervalMs: 0, lifeMs })
    return { id, secret, authorizationUrl, endsAtMs }
  } catch (error) {
    await dropAttempt(control, id)
    throw error
  }
}

/** One try: whatever comes of it, the attempt is over. Rejects with `sign-in-unavailable` or `sign-in-refused`. */
export async function finishCodeLogin(
  context: LoginContext,
  remoteAddress: string,
  id: string,
  ask: z.output<typeof codeFinish>,
): Promise<SignedIn> {
  const { control } = context
  const provider = requireProvider(context)
  const attempt = await control.state.transaction(async (sql) => {
    const found = await lockAttempt(sql, control, 'code', id, { secret: ask.secret })
    await useAttempt(sql, control, id)
    return found
  })
  const checks = JSON.parse(attempt.kept) as CodeChecks
  if (!isSame(ask.state, checks.state)) throw attemptRefused('another state')
  const answer = await provider.finishCode(ask, checks)
  return completeLogin(context, {
    attemptId: undefined,
    attempt,
    remoteAddress,
    flow: 'code',
    ...answer,
  })
}

function isSame(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
