import { nowMs, type Control } from '../control.ts'
import { usedTokenMs } from './mark-tokens-revoked.ts'

/**
 * Deletes tokens that ended, or were revoked, longer ago than they are kept. What was done with them is in control's chain, which
 * keeps it. Never sooner than the session that one let in may live: its revocation must find it. Returns how many.
 */
export async function trimTokens({
  realm,
  state,
  clock,
  settings,
}: Pick<Control, 'realm' | 'state' | 'clock' | 'settings'>): Promise<number> {
  const beforeMs = nowMs(clock) - Math.max(settings.tokenRetentionMs, usedTokenMs)
  const [gone] = await state.query<{ n: number }>(
    `with gone as (
       delete from tokens where realm = $1 and made_at_ms < $2 and expires_at_ms < $2
         and (revoked_at_ms is null or revoked_at_ms < $2) returning 1)
     select count(*) as n from gone`,
    [realm, beforeMs],
  )
  return gone!.n
}
