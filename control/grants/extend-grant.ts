import type { z } from 'zod'
import type { Grant, grantExtend } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { invalid } from '../refusals.ts'
import { lockGrant, requireAnothers, requireLive } from './change-grant.ts'
import { viewOf } from './grant-row.ts'
import { grantExtended, moveEnd } from './write-grant.ts'

const dayMs = 86_400_000
/** From now to the end of a grant, however often it is extended. */
const remainingMsMax = 30 * dayMs

/** Moves the end of a live grant. Rejects with `not-found`, `conflict`, `not-allowed` or `request-invalid`. */
export async function extendGrant(
  control: Control,
  actor: Actor,
  id: string,
  ask: z.output<typeof grantExtend>,
): Promise<Grant> {
  const { realm } = control
  return control.state.transaction(async (sql) => {
    const before = await lockGrant(sql, realm, id)
    requireLive(control, before)
    requireAnothers(actor, before)
    const atMs = nowMs(control.clock)
    const expiresAtMs = before.expiresAtMs + ask.byMs
    if (expiresAtMs - atMs > remainingMsMax) {
      throw invalid('a grant ends within 30 days from now', 'extend it by less')
    }
    const { row, token } = await moveEnd(sql, control, before, expiresAtMs, atMs)
    await appendControlAction(sql, control.chain, actor, grantExtended(before, row, ask.reason))
    await appendFeed(sql, realm, [{ group: row.group, event: { kind: 'grant', token } }], atMs)
    return viewOf(row, atMs)
  })
}
