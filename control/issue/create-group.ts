import type { z } from 'zod'
import type { proxyGroup, proxyGroupCreate } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { conflict } from '../refusals.ts'
import { isDuplicate } from '../store/query-error.ts'

/**
 * Adds a proxy group. Rejects with `conflict` if the name is taken, or the domain is, or is within another's: a group's proxies are certified
 * for all names of its domain, and no group may be able to take the place of another.
 */
export async function createGroup(
  control: Control,
  actor: Actor,
  ask: z.output<typeof proxyGroupCreate>,
): Promise<z.output<typeof proxyGroup>> {
  const { realm } = control
  try {
    await control.state.transaction(async (sql) => {
      // One at a time: two that come together do not see each other.
      await sql.query('select 1 from realms where realm = $1 for no key update', [realm])
      const [other] = await sql.query<{ name: string; domain: string }>(
        `select name, domain from proxy_groups where realm = $1
           and ('.' || domain like '%.' || $2::text or '.' || $2::text like '%.' || domain) limit 1`,
        [realm, ask.domain],
      )
      if (other !== undefined && other.name !== ask.name) {
        throw conflict(
          `the domain ${ask.domain} overlaps with ${other.domain}, of the proxy group ${other.name}`,
          'give each group a domain of its own, none within another',
        )
      }
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
