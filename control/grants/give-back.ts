import type { Grant } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { notFound } from '../refusals.ts'
import { lockGrant, requireLive } from './change-grant.ts'
import { stateOf, viewOf } from './grant-row.ts'
import { markRevoked, revocationOf } from './revoke-grant.ts'

/**
 * Ends the actor's own live grant and cuts its sessions. One that was ended by hand already is answered as it is. Rejects with
 * `not-found`, also for another person's, or `conflict`.
 */
export async function giveBack(
  control: Control,
  actor: Actor,
  id: string,
  reason: string,
): Promise<Grant> {
  const { realm, clock } = control
  return control.state.transaction(async (sql) => {
    const before = await lockGrant(sql, realm, id)
    if (before.personId !== actor.id) throw notFound('grant')
    const atMs = nowMs(clock)
    if (stateOf(before, atMs) === 'revoked') return viewOf(before, atMs)
    requireLive(control, before)
    const said =
      reason.trim() === '' ? 'given back' : `given back: ${reason.trim()}`.slice(0, 1_000)
    const [row] = await markRevoked(sql, realm, [id], { atMs, by: actor.email, reason: said })
    await appendControlAction(sql, control.chain, actor, {
      action: 'grant.given-back',
      target: id,
      details: {
        person: row!.personEmail,
        resource: row!.resource,
        level: row!.level,
        reason: said,
        revision: row!.revision,
      },
    })
    await appendFeed(sql, realm, [revocationOf(row!)], atMs)
    return viewOf(row!, atMs)
  })
}
