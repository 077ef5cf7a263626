import type { Grant } from '../api/shapes.ts'
import type { Resource } from '../api/resource.ts'
import { nowMs, type Control } from '../control.ts'
import { readFlows } from '../flows/read-flows.ts'
import { grantColumns, viewOf, type GrantRow } from '../grants/grant-row.ts'
import type { ConsolePerson } from '../login/console-session.ts'
import { offeredWays } from '../requests/ask.ts'
import { reachesResources } from '../ssh/reaches-resources.ts'
import { askerOf } from './open-app.ts'

export interface ListedApp {
  readonly name: string
  readonly domain: string
  readonly description: string | undefined
  readonly owner: string | undefined
  /** Live ones of theirs, newest first. Empty: they can ask. */
  readonly grants: readonly Grant[]
  readonly asked: boolean
  /** Levels that a flow would let them ask for. */
  readonly levels: readonly string[]
}

const appsMax = 5_000

/** The apps that somebody can open now, or ask for; by name. What no flow lets them see is not there. */
export async function listApps(
  control: Pick<Control, 'realm' | 'state' | 'clock'>,
  person: ConsolePerson,
): Promise<ListedApp[]> {
  const { realm, state, clock } = control
  if (!reachesResources(person.roles)) return []
  const atMs = nowMs(clock)
  const { flows } = await readFlows(state, { realm })
  const rows = await state.query<{ definition: Resource; domain: string }>(
    `select r.definition, g.domain from resources r
     join proxy_groups g on g.realm = r.realm and g.name = r.group_name
     where r.realm = $1 and r.definition ->> 'protocol' = 'http' order by r.name limit ${appsMax}`,
    [realm],
  )
  const grants = await state.query<GrantRow>(
    `select ${grantColumns} from grants
     where realm = $1 and person_id = $2 and revoked_at_ms is null and expires_at_ms > $3
     order by made_at_ms desc, id desc`,
    [realm, person.id, atMs],
  )
  const pending = await state.query<{ resource: string }>(
    `select distinct resource from requests where realm = $1 and person_id = $2
       and state = 'pending' and answer_by_ms > $3`,
    [realm, person.id, atMs],
  )
  const asked = new Set(pending.map(({ resource }) => resource))
  return rows.flatMap(({ definition, domain }) => {
    const { name, description, owner } = definition
    const own = grants.filter((row) => row.resource === name && row.group === definition.group)
    const ways = offeredWays(flows, askerOf(person), definition)
    if (own.length + ways.length === 0) return []
    return [
      {
        ...{ name, domain, description, owner },
        grants: own.map((row) => viewOf(row, atMs)),
        asked: asked.has(name),
        levels: [...new Set(ways.map(({ level }) => level))],
      },
    ]
  })
}
