/** Signing in on a machine without a browser (RFC 8628): a link and a code, and asking until somebody was there. */
import type { DeviceBegun, DevicePolled } from '../api/login.ts'
import { nowMs } from '../control.ts'
import { dropAttempt, fillAttempt, lockAttempt, openAttempt, useAttempt } from './attempts.ts'
import { completeLogin } from './complete-login.ts'
import { requireProvider, type LoginContext } from './login-context.ts'

/** RFC 8628, 3.5: five seconds more after each `slow_down`. */
const slowDownMs = 5_000
/** Clients count from another moment than we do. */
const earlyMs = 250

/** Rejects with `sign-in-unavailable`, `request-invalid` or `rate-limited`. */
export async function beginDeviceLogin(
  context: LoginContext,
  remoteAddress: string,
  requestPem: string,
): Promise<DeviceBegun> {
  const { control } = context
  const provider = requireProvider(context)
  const { id, secret } = await openAttempt(control, 'device', requestPem, remoteAddress)
  try {
    const begun = await provider.startDevice()
    const { deviceCode, userCode, verificationUrl, verificationUrlComplete, intervalMs } = begun
    const kept = { kept: deviceCode, intervalMs, lifeMs: begun.lifeMs }
    const { endsAtMs } = await fillAttempt(control, id, kept)
    return { id, secret, userCode, verificationUrl, verificationUrlComplete, intervalMs, endsAtMs }
  } catch (error) {
    await dropAttempt(control, id)
    throw error
  }
}

/** Rejects with `sign-in-unavailable` (ask again) or `sign-in-refused` (begin again). */
export async function pollDeviceLogin(
  context: LoginContext,
  remoteAddress: string,
  id: string,
  secret: string,
): Promise<DevicePolled> {
  const { control } = context
  const { realm, state } = control
  const provider = requireProvider(context)
  // The provider is never asked inside of a transaction: the embedded store has one connection.
  const turn = await state.transaction(async (sql) => {
    const attempt = await lockAttempt(sql, control, 'device', id, secret)
    const atMs = nowMs(control.clock)
    const early =
      attempt.polledAtMs !== null && atMs - attempt.polledAtMs < attempt.intervalMs - earlyMs
    if (!early) {
      await sql.query('update login_attempts set polled_at_ms = $3 where realm = $1 and id = $2', [
        realm,
        id,
        atMs,
      ])
    }
    return { attempt, early }
  })
  const { intervalMs, kept, requestPem } = turn.attempt
  if (turn.early) return { state: 'slow-down', intervalMs }
  const answer = await provider.pollDevice(kept).catch(async (error: unknown) => {
    if (isFinal(error)) await useAttempt(state, control, id)
    throw error
  })
  if (answer.state !== 'done') {
    if (answer.state === 'pending') return { state: 'pending', intervalMs }
    const slower = intervalMs + slowDownMs
    await state.query('update login_attempts set interval_ms = $3 where realm = $1 and id = $2', [
      realm,
      id,
      slower,
    ])
    return { state: 'slow-down', intervalMs: slower }
  }
  return completeLogin(context, {
    attemptId: id,
    requestPem,
    remoteAddress,
    flow: 'device',
    ...answer,
  })
}

/** A no ends the attempt; a provider that is away does not. */
function isFinal(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'sign-in-refused'
}
