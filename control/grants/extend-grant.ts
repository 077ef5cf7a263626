import type { z } from 'zod'
import type { Grant, grantExtend } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { invalid } from '../refusals.ts'
import { lockGrant, requireAnothers, requireLive } from './change-grant.ts'
import { signGrant, viewOf, type GrantRow } from './grant-row.ts'

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
    const row: GrantRow = {
      ...before,
      revision: before.revision + 1,
      expiresAtMs: before.expiresAtMs + ask.byMs,
    }
    if (row.expiresAtMs - atMs > remainingMsMax) {
      throw invalid('a grant ends within 30 days from now', 'extend it by less')
    }
    const token = await signGrant(control, row, atMs)
    await sql.query(
      `update grants set revision = $3, expires_at_ms = $4, token = $5
       where realm = $1 and id = $2`,
      [realm, id, row.revision, row.expiresAtMs, token],
    )
    await appendControlAction(sql, control.chain, actor, {
      action: 'grant.extended',
      target: id,
      details: {
        person: row.personEmail,
        resource: row.resource,
        level: row.level,
        reason: ask.reason,
        endedAtMs: before.expiresAtMs,
        expiresAtMs: row.expiresAtMs,
        revision: row.revision,
      },
    })
    await appendFeed(sql, realm, [{ group: row.group, event: { kind: 'grant', token } }], atMs)
    return viewOf(row, atMs)
  })
}
