import type { z } from 'zod'
import type { Level } from '../api/names.ts'
import type { flowsTest, Why } from '../api/request.ts'
import type { Resource } from '../api/resource.ts'
import { nowMs, type Control } from '../control.ts'
import { approvalsNeeded, approversOf, defaultMs, longestMs } from '../flows/choose-flow.ts'
import { readFlows } from '../flows/read-flows.ts'
import { grantColumns, viewOf as viewOfGrant, type GrantRow } from '../grants/grant-row.ts'
import { missing, notFound } from '../refusals.ts'
import type { KeptRequest } from './access-request.ts'
import { offeredWays, type Asker } from './ask.ts'
import { requestColumns, viewOf } from './request-row.ts'

type Scope = Pick<Control, 'realm' | 'state' | 'clock'>

/** What the person themselves may know. Rejects with `not-found` where there is nothing, as for what does not exist. */
export async function explainAccess(control: Scope, person: Asker, name: string): Promise<Why> {
  const why = await explain(control, person, person, name)
  if (why.grants.length + why.pending.length + why.ways.length === 0) throw notFound('resource')
  return why
}

/** For admins and auditors: what would happen if this person asked. Rejects with `not-found`. */
export async function testFlows(
  control: Scope,
  viewer: Asker,
  ask: z.output<typeof flowsTest>,
): Promise<Why> {
  const [person] = await control.state.query<Asker>(
    'select id, email, groups from people where realm = $1 and email = $2',
    [control.realm, ask.person],
  )
  if (person === undefined) throw missing(`person ${ask.person}`, 'sally people lists them')
  return explain(control, viewer, person, ask.resource, ask.level)
}

async function explain(
  { realm, state, clock }: Scope,
  viewer: Asker,
  person: Asker,
  name: string,
  level?: Level,
): Promise<Why> {
  const atMs = nowMs(clock)
  const { flows } = await readFlows(state, { realm })
  const [row] = await state.query<{ definition: Resource }>(
    'select definition from resources where realm = $1 and name = $2',
    [realm, name],
  )
  const grants = await state.query<GrantRow>(
    `select ${grantColumns} from grants
     where realm = $1 and person_id = $2 and resource = $3
       and revoked_at_ms is null and expires_at_ms > $4
     order by made_at_ms desc, id desc limit 1000`,
    [realm, person.id, name, atMs],
  )
  const pending = await state.query<KeptRequest>(
    `select ${requestColumns} from requests
     where realm = $1 and person_id = $2 and resource = $3
       and state = 'pending' and answer_by_ms > $4
     order by made_at_ms desc, id desc limit 1000`,
    [realm, person.id, name, atMs],
  )
  const ways = row === undefined ? [] : offeredWays(flows, person, row.definition)
  return {
    resource: name,
    grants: grants.map((grant) => viewOfGrant(grant, atMs)),
    pending: pending.map((request) => viewOf(request, viewer, atMs)),
    ways: ways
      .filter((way) => level === undefined || way.level === level)
      .map(({ level: each, flow }) => {
        const { people, groups } = approversOf(flow)
        return {
          level: each,
          flow: flow.name,
          approvalsNeeded: approvalsNeeded(flow),
          approvers: { people: [...people], groups: [...groups] },
          longestMs: longestMs(flow),
          defaultMs: defaultMs(flow),
          reasonRequired: flow.reasonRequired,
        }
      }),
  }
}
