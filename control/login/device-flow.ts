/** The device flow (RFC 8628) between control and the provider, whoever waits for it. */
import { nowMs } from '../control.ts'
import {
  dropAttempt,
  fillAttempt,
  lockAttempt,
  openAttempt,
  useAttempt,
  type Attempt,
  type AttemptAsk,
  type AttemptHolder,
} from './attempts.ts'
import type { DeviceStart, ProviderAnswer } from './identity-provider.ts'
import { requireProvider, type LoginContext } from './login-context.ts'

/** RFC 8628, 3.5: five seconds more after each `slow_down`. */
const slowDownMs = 5_000
/** Clients count from another moment than we do. */
const earlyMs = 250

/** Rejects with `sign-in-unavailable`, `request-invalid` or `rate-limited`. */
export async function beginDeviceFlow(
  context: LoginContext,
  ask: AttemptAsk,
  remoteAddress: string,
): Promise<{ id: string; secret: string; begun: DeviceStart; endsAtMs: number }> {
  const { control } = context
  const provider = requireProvider(context)
  const { id, secret } = await openAttempt(control, ask, remoteAddress)
  try {
    const begun = await provider.startDevice()
    const { deviceCode: kept, intervalMs, lifeMs } = begun
    const { endsAtMs } = await fillAttempt(control, id, { kept, intervalMs, lifeMs })
    return { id, secret, begun, endsAtMs }
  } catch (error) {
    await dropAttempt(control, id)
    throw error
  }
}

export type DeviceTurn =
  | { readonly state: 'pending' | 'slow-down'; readonly intervalMs: number }
  | { readonly state: 'done'; readonly attempt: Attempt; readonly answer: ProviderAnswer }

/** Asks the provider once, if it is time. Rejects with `sign-in-unavailable` (ask again) or `sign-in-refused` (begin again). */
export async function pollDeviceFlow(
  context: LoginContext,
  kind: 'device' | 'terminal',
  id: string,
  holder: AttemptHolder,
): Promise<DeviceTurn> {
  const { control } = context
  const { realm, state } = control
  const provider = requireProvider(context)
  // The provider is never asked inside of a transaction: the embedded store has one connection.
  const turn = await state.transaction(async (sql) => {
    const attempt = await lockAttempt(sql, control, kind, id, holder)
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
  const { intervalMs, kept } = turn.attempt
  if (turn.early) return { state: 'slow-down', intervalMs }
  const answer = await provider.pollDevice(kept).catch(async (error: unknown) => {
    if (isFinal(error)) await useAttempt(state, control, id)
    throw error
  })
  if (answer.state === 'done') return { state: 'done', attempt: turn.attempt, answer }
  if (answer.state === 'pending') return { state: 'pending', intervalMs }
  const slower = intervalMs + slowDownMs
  await state.query('update login_attempts set interval_ms = $3 where realm = $1 and id = $2', [
    realm,
    id,
    slower,
  ])
  return { state: 'slow-down', intervalMs: slower }
}

/** A no ends the attempt; a provider that is away does not. */
function isFinal(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'sign-in-refused'
}
