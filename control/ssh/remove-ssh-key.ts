import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { notFound } from '../refusals.ts'
import { markSshKeysRemoved } from './ssh-key-row.ts'

/**
 * A key identifies nobody from now on, and the sessions that it let in are cut. `ownerId`: only this person's; undefined: anybody's.
 * Rejects with `not-found`.
 */
export async function removeSshKey(
  control: Control,
  actor: Actor,
  ownerId: string | undefined,
  id: string,
): Promise<void> {
  const { realm, clock } = control
  await control.state.transaction(async (sql) => {
    const found = await sql.query(
      `select 1 from ssh_keys where realm = $1 and id = $2 and removed_at_ms is null
         and ($3::uuid is null or person_id = $3) for update`,
      [realm, id, ownerId ?? null],
    )
    if (found.length === 0) throw notFound('SSH key')
    const atMs = nowMs(clock)
    const removed = await markSshKeysRemoved(sql, realm, { id }, { atMs, by: actor.email })
    await appendControlAction(sql, control.chain, actor, {
      action: 'ssh-key.removed',
      target: removed[0]!.fingerprint,
      details: { id },
    })
    await appendFeed(
      sql,
      realm,
      removed.map(({ entry }) => entry),
      atMs,
    )
  })
}
