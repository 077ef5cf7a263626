import type { z } from 'zod'
import type { proxyGroup, proxyGroupCreate } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { conflict } from '../refusals.ts'
import { isDuplicate } from '../store/query-error.ts'

/** Adds a proxy group. Rejects with `conflict` if the name is taken. */
export async function createGroup(
  control: Control,
  actor: Actor,
  ask: z.output<typeof proxyGroupCreate>,
): Promise<z.output<typeof proxyGroup>> {
  const { realm } = control
  try {
    await control.state.transaction(async (sql) => {
      await sql.query(
        `insert into proxy_groups (realm, name, domain, created_at_ms) values ($1, $2, $3, $4)`,
        [realm, ask.name, ask.domain, nowMs(control.clock)],
      )
      await appendControlAction(sql, control.chain, actor, {
        action: 'proxy-group.created',
        target: ask.name,
        details: { domain: ask.domain },
      })
    })
  } catch (error) {
    if (isDuplicate(error)) throw conflict(`there is a proxy group ${ask.name}`)
    throw error
  }
  return { ...ask, sshSourceAddresses: [], proxies: [] }
}
