/** Signing in on a machine without a browser (RFC 8628): a link and a code, and asking until somebody was there. */
import type { z } from 'zod'
import type { DeviceBegun, deviceBegin, DevicePolled } from '../api/login.ts'
import { completeLogin } from './complete-login.ts'
import { beginDeviceFlow, pollDeviceFlow } from './device-flow.ts'
import { keysOf } from './keys-of.ts'
import type { LoginContext } from './login-context.ts'

/** Rejects with `sign-in-unavailable`, `request-invalid` or `rate-limited`. */
export async function beginDeviceLogin(
  context: LoginContext,
  remoteAddress: string,
  ask: z.output<typeof deviceBegin>,
): Promise<DeviceBegun> {
  const asked = { kind: 'device', ...keysOf(ask) } as const
  const { id, secret, begun, endsAtMs } = await beginDeviceFlow(context, asked, remoteAddress)
  const { userCode, verificationUrl, verificationUrlComplete, intervalMs } = begun
  return { id, secret, userCode, verificationUrl, verificationUrlComplete, intervalMs, endsAtMs }
}

/** Rejects with `sign-in-unavailable` (ask again) or `sign-in-refused` (begin again). */
export async function pollDeviceLogin(
  context: LoginContext,
  remoteAddress: string,
  id: string,
  secret: string,
): Promise<DevicePolled> {
  const turn = await pollDeviceFlow(context, 'device', id, { secret })
  if (turn.state !== 'done') return turn
  const { attempt, answer } = turn
  return completeLogin(context, {
    attemptId: id,
    attempt,
    remoteAddress,
    flow: 'device',
    ...answer,
  })
}
