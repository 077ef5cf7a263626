import type { z } from 'zod'
import { InvalidInput } from '../api/problem.ts'
import type { Flow } from '../api/flow.ts'
import type { flowsApply, flowsPlan } from '../api/request.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { conflict } from '../refusals.ts'
import { planFlows } from './plan-flows.ts'
import { readFlows } from './read-flows.ts'

/**
 * Plans, and unless `dryRun` applies, a file that replaces all flows. Requests that wait keep the flow they were asked under.
 * Rejects with `conflict` when the flows are not at `expectedVersion`, `config-invalid` with paths into the file.
 */
export async function applyFlows(
  control: Control,
  actor: Actor,
  ask: z.output<typeof flowsApply>,
): Promise<z.output<typeof flowsPlan>> {
  const { realm, state } = control
  requireDistinct(ask.flows)
  return state.transaction(async (sql) => {
    // Shares the row with foreign keys that point at it, and with nobody who asks or applies.
    if (!ask.dryRun) {
      await sql.query('select 1 from realms where realm = $1 for no key update', [realm])
    }
    const { version, flows } = await readFlows(sql, control)
    if (ask.expectedVersion !== undefined && ask.expectedVersion !== version) {
      throw conflict(
        `the flows are at version ${version}, the plan was made of version ${ask.expectedVersion}`,
        'somebody changed them meanwhile: look at a new plan',
      )
    }
    const changes = planFlows(flows, ask.flows)
    if (ask.dryRun) return { version, applied: false, changes }
    if (changes.every(({ action }) => action === 'keep')) return { version, applied: true, changes }
    const next = version + 1
    const atMs = nowMs(control.clock)
    await sql.query(
      `insert into flows_versions (realm, version, flows, author_id, author, remote_address,
         applied_at_ms) values ($1, $2, $3::jsonb, $4, $5, $6, $7)`,
      [realm, next, JSON.stringify(ask.flows), actor.id, actor.email, actor.remoteAddress, atMs],
    )
    await sql.query('update realms set flows_version = $2 where realm = $1', [realm, next])
    const before = new Map(flows.map((flow) => [flow.name, flow]))
    const after = new Map(ask.flows.map((flow) => [flow.name, flow]))
    await appendControlAction(sql, control.chain, actor, {
      action: 'flows.applied',
      target: `version ${next}`,
      details: {
        changes: changes
          .filter(({ action }) => action !== 'keep')
          .map(({ action, name, details }) =>
            action === 'change'
              ? { action, name, details }
              : { action, ...(after.get(name) ?? before.get(name)) },
          ),
      },
    })
    return { version: next, applied: true, changes }
  })
}

function requireDistinct(flows: readonly Flow[]): void {
  const seen = new Set<string>()
  const issues = flows.flatMap(({ name }, index) => {
    const repeated = seen.has(name)
    seen.add(name)
    return repeated ? [{ path: `flows.${index}.name`, message: `${name} is there twice` }] : []
  })
  if (issues.length > 0) {
    throw new InvalidInput('config-invalid', 'the flows file cannot be applied', issues)
  }
}
