import type { Person } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { lockPerson, viewOf, type PersonRow } from './person-row.ts'

/** Lets a revoked person in again, with certificates that are issued from now on. An active one is answered as they are. */
export async function restorePerson(
  control: Control,
  actor: Actor,
  id: string,
  reason: string,
): Promise<Person> {
  const { realm } = control
  return control.state.transaction(async (sql) => {
    const before = await lockPerson(sql, realm, id)
    if (before.state === 'active') return viewOf(before)
    // Never before the revocation, whatever the clock did since.
    const atMs = Math.max(nowMs(control.clock), before.revokedAtMs ?? 0)
    const row: PersonRow = { ...before, state: 'active', certificatesValidFromMs: atMs }
    await sql.query(
      `update people set state = 'active', revoked_at_ms = null, certificates_valid_from_ms = $3
       where realm = $1 and id = $2`,
      [realm, id, atMs],
    )
    await appendControlAction(sql, control.chain, actor, {
      action: 'person.restored',
      target: id,
      details: { email: row.email, reason },
    })
    await appendFeed(
      sql,
      realm,
      [{ group: null, event: { kind: 'person-restored', personId: id, atMs } }],
      atMs,
    )
    return viewOf(row)
  })
}
