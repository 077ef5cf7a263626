import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { missing } from '../refusals.ts'

/**
 * Shuts a proxy out for good: its certificates count no more, also those that a thief renewed, and its feeds are closed. What
 * its spool still holds is not taken. One that is revoked already is left as it is. Rejects with `not-found`.
 */
export async function revokeProxy(
  control: Control,
  actor: Actor,
  id: string,
  reason: string,
): Promise<void> {
  const { realm } = control
  await control.state.transaction(async (sql) => {
    const [proxy] = await sql.query<{ name: string; group: string; revoked: boolean }>(
      `select name, group_name as "group", revoked_at_ms is not null as revoked
       from proxies where realm = $1 and id = $2 for update`,
      [realm, id],
    )
    if (proxy === undefined) throw missing(`proxy ${id}`, 'sally proxy list shows them')
    if (proxy.revoked) return
    const atMs = nowMs(control.clock)
    await sql.query('update proxies set revoked_at_ms = $3 where realm = $1 and id = $2', [
      realm,
      id,
      atMs,
    ])
    const certificates = await sql.query<{ serial: string }>(
      `update certificates set revoked_at_ms = $3, revoked_by = $4, revoke_reason = $5
       where realm = $1 and kind = 'proxy' and holder_id = $2 and revoked_at_ms is null
         and expires_at_ms > $3 returning serial`,
      [realm, id, atMs, actor.email, reason],
    )
    await appendControlAction(sql, control.chain, actor, {
      action: 'proxy.revoked',
      target: id,
      details: {
        name: proxy.name,
        group: proxy.group,
        reason,
        certificates: certificates.map(({ serial }) => serial),
      },
    })
  })
}
