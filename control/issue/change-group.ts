import type { z } from 'zod'
import type { proxyGroupChange } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import type { Actor, Control } from '../control.ts'
import { missing } from '../refusals.ts'

/** Says from where servers see a group's proxies come; certificates of sessions are good from there from now on. Rejects with `not-found`. */
export async function changeGroup(
  control: Control,
  actor: Actor,
  name: string,
  { sshSourceAddresses }: z.output<typeof proxyGroupChange>,
): Promise<void> {
  const { realm } = control
  await control.state.transaction(async (sql) => {
    const changed = await sql.query(
      `update proxy_groups set ssh_source_addresses = $3 where realm = $1 and name = $2
       returning name`,
      [realm, name, sshSourceAddresses],
    )
    if (changed.length === 0) throw missing(`proxy group ${name}`)
    await appendControlAction(sql, control.chain, actor, {
      action: 'proxy-group.changed',
      target: name,
      details: { sshSourceAddresses },
    })
  })
}
