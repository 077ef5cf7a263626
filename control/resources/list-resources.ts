import { z } from 'zod'
import { level, resourceName } from '../api/names.ts'
import type { Resource } from '../api/resource.ts'
import type { pageQuery, ResourceView } from '../api/shapes.ts'
import { decodeCursor, encodeCursor } from '../audit/cursor.ts'
import { nowMs, type Control } from '../control.ts'

interface Row {
  readonly definition: Resource
  readonly domain: string
  readonly updatedAtMs: number
}

/**
 * By name. `granteeId`: only resources for which this person has a live grant, and without their definition (addresses and
 * accounts are not for everybody); undefined: all, whole.
 */
export async function listResources(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  granteeId: string | undefined,
  query: z.output<typeof pageQuery>,
): Promise<{ items: ResourceView[]; next: string | null }> {
  const after = query.cursor === undefined ? '' : decodeCursor(resourceName, query.cursor)
  const rows = await state.query<Row>(
    `select r.definition, g.domain, r.updated_at_ms as "updatedAtMs"
     from resources r join proxy_groups g on g.realm = r.realm and g.name = r.group_name
     where r.realm = $1 and r.name collate "C" > $2
       and ($3::uuid is null or exists (
         select 1 from grants
         where realm = r.realm and person_id = $3 and resource = r.name
           and revoked_at_ms is null and expires_at_ms > $4))
     order by r.name collate "C" limit $5`,
    [realm, after, granteeId ?? null, nowMs(clock), query.limit + 1],
  )
  const items = rows.slice(0, query.limit).map((row) => viewOf(row, granteeId === undefined))
  const last = items.at(-1)
  const more = rows.length > query.limit && last !== undefined
  return { items, next: more ? encodeCursor(last.name) : null }
}

function viewOf({ definition, domain, updatedAtMs }: Row, whole: boolean): ResourceView {
  const { name, protocol, group, tags, levels, description, owner } = definition
  return {
    name,
    protocol,
    hostname: `${name}.${domain}`,
    // In their order of rights; the database has its own order of keys.
    levels: level.options.filter((each) => levels[each] !== undefined),
    group,
    tags,
    updatedAtMs,
    ...(description === undefined ? {} : { description }),
    ...(owner === undefined ? {} : { owner }),
    ...(whole ? { definition } : {}),
  }
}
