import type { Grant } from '../api/shapes.ts'
import type { Actor, Control } from '../control.ts'
import { endByHand } from './revoke-grant.ts'

/**
 * Ends the actor's own live grant and cuts its sessions. One that was ended by hand already is answered as it is. Rejects with
 * `not-found`, also for another person's, or `conflict`.
 */
export function giveBack(
  control: Control,
  actor: Actor,
  id: string,
  reason: string,
): Promise<Grant> {
  const said = reason.trim() === '' ? 'given back' : `given back: ${reason.trim()}`.slice(0, 1_000)
  return endByHand(control, actor, id, {
    action: 'grant.given-back',
    reason: said,
    ownerId: actor.id,
  })
}
