import type { z } from 'zod'
import { InvalidInput } from '../api/problem.ts'
import type { Level } from '../api/names.ts'
import type { Resource } from '../api/resource.ts'
import type { ResourcesPlan, resourcesApply } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed, type FeedEntry } from '../feed/append-feed.ts'
import { markRevoked, revocationOf } from '../grants/revoke-grant.ts'
import { conflict } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { planResources, type PlannedChange } from './plan-resources.ts'

/** How many live sessions a resource has at some levels. From the audit store; an estimate by the time it is shown. */
export type CountLiveSessions = (resource: string, levels: readonly Level[]) => Promise<number>

/**
 * Plans, and unless `dryRun` applies, a resources file. Grants for what is offered no more are revoked, so that they do not
 * come back to life with a later resource of the same name. Rejects with `conflict` when the state is not the one that
 * `expectedVersion` names, `config-invalid` with paths into the file.
 */
export async function applyResources(
  control: Control,
  actor: Actor,
  ask: z.output<typeof resourcesApply>,
  countLiveSessions: CountLiveSessions,
): Promise<ResourcesPlan> {
  const { realm, state } = control
  const wanted = ask.file.resources
  const outcome = await state.transaction(async (sql) => {
    await requireConsistent(sql, realm, wanted)
    const [versions] = await sql.query<{ version: number }>(
      `select version from resources_versions where realm = $1 ${ask.dryRun ? '' : 'for update'}`,
      [realm],
    )
    const version = versions!.version
    if (ask.expectedVersion !== undefined && ask.expectedVersion !== version) {
      throw conflict(
        `the resources are at version ${version}, the plan was made of version ${ask.expectedVersion}`,
        'somebody changed them meanwhile: look at a new plan',
      )
    }
    const present = await sql.query<{ definition: Resource }>(
      'select definition from resources where realm = $1',
      [realm],
    )
    const plan = planResources(
      present.map((row) => row.definition),
      wanted,
      ask.prune,
    )
    const changes = plan.filter((change) => change.action !== 'keep')
    if (ask.dryRun || changes.length === 0) return { plan, version, applied: !ask.dryRun }
    await apply(sql, control, actor, changes, version + 1)
    return { plan, version: version + 1, applied: true }
  })
  return {
    version: outcome.version,
    applied: outcome.applied,
    changes: await Promise.all(
      outcome.plan.map(async ({ action, name, details, endedLevels }) => ({
        action,
        name,
        details,
        sessionsAffected: endedLevels.length === 0 ? 0 : await countLiveSessions(name, endedLevels),
      })),
    ),
  }
}

async function requireConsistent(
  sql: Sql,
  realm: string,
  wanted: readonly Resource[],
): Promise<void> {
  const groups = await sql.query<{ name: string }>(
    'select name from proxy_groups where realm = $1',
    [realm],
  )
  const known = new Set(groups.map((group) => group.name))
  const seen = new Set<string>()
  const issues = wanted.flatMap((resource, index) => {
    const found: { path: string; message: string }[] = []
    if (!known.has(resource.group)) {
      const message = `there is no proxy group ${resource.group}`
      found.push({ path: `resources.${index}.group`, message })
    }
    if (seen.has(resource.name)) {
      const message = `${resource.name} is there twice`
      found.push({ path: `resources.${index}.name`, message })
    }
    seen.add(resource.name)
    return found
  })
  if (issues.length > 0) {
    throw new InvalidInput('config-invalid', 'the resources file cannot be applied', issues)
  }
}

async function apply(
  sql: Sql,
  control: Control,
  actor: Actor,
  changes: readonly PlannedChange[],
  version: number,
): Promise<void> {
  const { realm } = control
  const atMs = nowMs(control.clock)
  await sql.query('update resources_versions set version = $2 where realm = $1', [realm, version])
  const entries: FeedEntry[] = []
  const revoked: string[] = []
  for (const change of changes) {
    const { name, before, after } = change
    if (after === undefined) {
      await sql.query('delete from resources where realm = $1 and name = $2', [realm, name])
    } else {
      await sql.query(
        `insert into resources (realm, name, group_name, definition, version, updated_at_ms)
         values ($1, $2, $3, $4::jsonb, $5, $6)
         on conflict (realm, name) do update set group_name = excluded.group_name,
           definition = excluded.definition, version = excluded.version,
           updated_at_ms = excluded.updated_at_ms`,
        [realm, name, after.group, JSON.stringify(after), version, atMs],
      )
    }
    if (before !== undefined && before.group !== after?.group) {
      entries.push({
        group: before.group,
        event: { kind: 'resource-removed', name, orderedAtMs: atMs },
      })
    }
    if (after !== undefined) {
      entries.push({ group: after.group, event: { kind: 'resource', resource: after } })
    }
    const ended = await endGrants(sql, realm, change, actor, atMs)
    entries.push(...ended.map(revocationOf))
    revoked.push(...ended.map((row) => row.id))
  }
  await appendControlAction(sql, control.chain, actor, {
    action: 'resources.applied',
    target: `version ${version}`,
    details: {
      changes: changes.map(({ action, name, before, after, details }) =>
        action === 'change' ? { action, name, details } : { action, name, ...(after ?? before) },
      ),
      grantsRevoked: revoked,
    },
  })
  await appendFeed(sql, realm, entries, atMs)
}

async function endGrants(
  sql: Sql,
  realm: string,
  { name, after, endedLevels }: PlannedChange,
  actor: Actor,
  atMs: number,
) {
  if (endedLevels.length === 0) return []
  const rows = await sql.query<{ id: string }>(
    `select id from grants where realm = $1 and resource = $2 and level = any($3::text[])
       and revoked_at_ms is null and expires_at_ms > $4 order by id for update`,
    [realm, name, endedLevels, atMs],
  )
  const reason =
    after === undefined ? 'the resource was removed' : 'the resource does not offer it any more'
  const ids = rows.map((row) => row.id)
  return ids.length === 0 ? [] : markRevoked(sql, realm, ids, { atMs, by: actor.email, reason })
}
