import { z } from 'zod'
import { level, resourceName, type Level } from '../api/names.ts'
import type { Resource } from '../api/resource.ts'
import type { pageQuery, ResourceView } from '../api/shapes.ts'
import { decodeCursor, encodeCursor } from '../audit/cursor.ts'
import { nowMs, type Control } from '../control.ts'
import { readFlows } from '../flows/read-flows.ts'
import { offeredWays, type Asker } from '../requests/ask.ts'

interface Row {
  readonly definition: Resource
  readonly domain: string
  readonly updatedAtMs: number
  readonly reach: Level[]
}

/** Rows that are looked at together for somebody who sees few of them. */
const batchRows = 500

/**
 * By name. For those who do not see all: only resources at which they have a live grant or for which a flow lets them ask, and
 * without the definition (addresses and accounts are not for everybody).
 */
export async function listResources(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  viewer: Asker,
  seesAll: boolean,
  query: z.output<typeof pageQuery>,
): Promise<{ items: ResourceView[]; next: string | null }> {
  let after = query.cursor === undefined ? '' : decodeCursor(resourceName, query.cursor)
  const { flows } = await readFlows(state, { realm })
  const found: ResourceView[] = []
  const take = seesAll ? query.limit + 1 : Math.max(batchRows, query.limit + 1)
  for (;;) {
    const rows = await state.query<Row>(
      `select r.definition, g.domain, r.updated_at_ms as "updatedAtMs", array(
         select distinct level from grants
         where realm = r.realm and person_id = $3 and resource = r.name
           and revoked_at_ms is null and expires_at_ms > $4) as reach
       from resources r join proxy_groups g on g.realm = r.realm and g.name = r.group_name
       where r.realm = $1 and r.name collate "C" > $2
       order by r.name collate "C" limit $5`,
      [realm, after, viewer.id, nowMs(clock), take],
    )
    for (const row of rows) {
      const ways = offeredWays(flows, viewer, row.definition)
      const ask = [...new Set(ways.map((way) => way.level))]
      if (seesAll || row.reach.length + ask.length > 0) found.push(viewOf(row, ask, seesAll))
    }
    after = rows.at(-1)?.definition.name ?? after
    if (found.length > query.limit || rows.length < take) break
  }
  const items = found.slice(0, query.limit)
  const last = items.at(-1)
  const more = found.length > query.limit && last !== undefined
  return { items, next: more ? encodeCursor(last.name) : null }
}

function viewOf(
  { definition, domain, updatedAtMs, reach }: Row,
  ask: Level[],
  whole: boolean,
): ResourceView {
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
    reach: level.options.filter((each) => reach.includes(each)),
    ask,
    ...(description === undefined ? {} : { description }),
    ...(owner === undefined ? {} : { owner }),
    ...(whole ? { definition } : {}),
  }
}
