import type { Grant } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed, type FeedEntry } from '../feed/append-feed.ts'
import { notFound } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { lockGrant, requireLive } from './change-grant.ts'
import { grantColumns, stateOf, viewOf, type GrantRow } from './grant-row.ts'

/** Ends a grant now. One that is revoked already is answered as it is. Rejects with `not-found` or `conflict`. */
export function revokeGrant(
  control: Control,
  actor: Actor,
  id: string,
  reason: string,
): Promise<Grant> {
  return endByHand(control, actor, id, { action: 'grant.revoked', reason })
}

/** What revoking and giving back share. `ownerId`: another person's grant is `not-found`. */
export async function endByHand(
  control: Control,
  actor: Actor,
  id: string,
  how: { action: 'grant.revoked' | 'grant.given-back'; reason: string; ownerId?: string },
): Promise<Grant> {
  const { realm, clock } = control
  const { action, reason, ownerId } = how
  return control.state.transaction(async (sql) => {
    const before = await lockGrant(sql, realm, id)
    if (ownerId !== undefined && before.personId !== ownerId) throw notFound('grant')
    const atMs = nowMs(clock)
    if (stateOf(before, atMs) === 'revoked') return viewOf(before, atMs)
    requireLive(control, before)
    const [row] = await markRevoked(sql, realm, [id], { atMs, by: actor.email, reason })
    await appendControlAction(sql, control.chain, actor, {
      action,
      target: id,
      details: {
        person: row!.personEmail,
        resource: row!.resource,
        level: row!.level,
        reason,
        revision: row!.revision,
      },
    })
    await appendFeed(sql, realm, [revocationOf(row!)], atMs)
    return viewOf(row!, atMs)
  })
}

/** Sets rows to revoked. Chain and feed are the caller's. */
export function markRevoked(
  sql: Sql,
  realm: string,
  ids: readonly string[],
  how: { atMs: number; by: string; reason: string },
): Promise<GrantRow[]> {
  return sql.query<GrantRow>(
    `update grants set revision = revision + 1, revoked_at_ms = $3, revoked_by = $4,
       revoke_reason = $5
     where realm = $1 and id = any($2::uuid[]) returning ${grantColumns}`,
    [realm, ids, how.atMs, how.by, how.reason],
  )
}

/** The event of a revoked row: its revision was never signed, so everything below it is void. */
export function revocationOf(row: GrantRow): FeedEntry {
  return {
    group: row.group,
    event: {
      kind: 'grant-revoked',
      grantId: row.id,
      revision: row.revision,
      orderedAtMs: row.revokedAtMs!,
      reason: row.revokeReason ?? '',
    },
  }
}
