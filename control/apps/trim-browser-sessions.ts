import { nowMs, type Control } from '../control.ts'

/** A revocation finds what it must for so long after a sign-in's end. */
const keptMs = 86_400_000

/** Deletes browsers' sessions that are over. What was done in them is in the audit, which keeps it. */
export async function trimBrowserSessions({
  realm,
  state,
  clock,
}: Pick<Control, 'realm' | 'state' | 'clock'>): Promise<void> {
  const beforeMs = nowMs(clock) - keptMs
  await state.query('delete from browser_sign_ins where realm = $1 and expires_at_ms < $2', [
    realm,
    beforeMs,
  ])
  await state.query('delete from console_sessions where realm = $1 and ends_at_ms < $2', [
    realm,
    beforeMs,
  ])
}
