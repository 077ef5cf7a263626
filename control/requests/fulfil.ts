/** What an approved request brings: its grant, or the later end of one. */
import { randomUUID } from 'node:crypto'
import type { Resource } from '../api/resource.ts'
import type { Actor, Control } from '../control.ts'
import type { FeedEntry } from '../feed/append-feed.ts'
import { lockGrant } from '../grants/change-grant.ts'
import type { GrantRow } from '../grants/grant-row.ts'
import { grantExtended, grantMade, insertGrant, moveEnd } from '../grants/write-grant.ts'
import type { ControlAction } from '../server/handlers.ts'
import type { Sql } from '../store/store.ts'
import type { KeptRequest } from './access-request.ts'
import { outcomeOf } from './outcome.ts'

export interface Fulfilled {
  readonly request: KeptRequest
  readonly grant: GrantRow
  /** For the caller to append, in this order: chain, then feed. */
  readonly action: ControlAction
  readonly entry: FeedEntry
}

/**
 * Writes the grant of a request that is approved as of `atMs`: from then on its clock runs. The caller holds the rows of request,
 * person and resource. Rejects with `conflict` when what was asked for is there no more.
 */
export async function fulfil(
  sql: Sql,
  control: Control,
  actor: Actor,
  approved: KeptRequest,
  parts: { person: HeldPerson; resource: Resource | undefined; atMs: number },
): Promise<Fulfilled> {
  const { person, resource, atMs } = parts
  const before =
    approved.kind === 'extension'
      ? await lockGrant(sql, control.realm, approved.grantId!)
      : undefined
  const { level, expiresAtMs } = outcomeOf(approved, { person, resource, grant: before, atMs })
  const because = {
    requestId: approved.id,
    flow: approved.flow.name,
    flowsVersion: approved.flowsVersion,
    approvedBy: approved.decisions
      .filter(({ lapsed }) => lapsed !== true)
      .map(({ personEmail }) => personEmail),
  }
  if (before !== undefined) {
    const { row, token } = await moveEnd(sql, control, before, expiresAtMs, atMs)
    return {
      request: approved,
      grant: row,
      action: grantExtended(before, row, reasonOf(approved), because),
      entry: { group: row.group, event: { kind: 'grant', token } },
    }
  }
  const row: GrantRow = {
    id: randomUUID(),
    revision: 1,
    personId: person.id,
    personEmail: person.email,
    resource: approved.resource,
    level,
    group: resource!.group,
    reason: reasonOf(approved),
    madeBy: actor.email,
    madeAtMs: atMs,
    expiresAtMs,
    revokedAtMs: null,
    revokedBy: null,
    revokeReason: null,
  }
  const token = await insertGrant(sql, control, row, approved.id)
  return {
    request: { ...approved, grantId: row.id },
    grant: row,
    action: grantMade(row, because),
    entry: { group: row.group, event: { kind: 'grant', token } },
  }
}

/** A grant has a reason, also where its flow wants none. */
function reasonOf({ reason, flow }: KeptRequest): string {
  return reason === '' ? `none given; flow ${flow.name}` : reason
}

/** Held to the commit: a change of the resource comes before or after. */
export async function holdResource(
  sql: Sql,
  realm: string,
  name: string,
): Promise<Resource | undefined> {
  const [row] = await sql.query<{ definition: Resource }>(
    'select definition from resources where realm = $1 and name = $2 for share',
    [realm, name],
  )
  return row?.definition
}

export interface HeldPerson {
  readonly id: string
  readonly email: string
  readonly groups: readonly string[]
  readonly active: boolean
}

/**
 * Held to the commit: a revocation comes before or after. `alone`: also against others who hold it so, for what one person may do
 * one after the other only. Persons are held in the order of their ids, before requests and resources.
 */
export async function holdPeople(
  sql: Sql,
  realm: string,
  ids: readonly string[],
  alone = false,
): Promise<Map<string, HeldPerson>> {
  const rows = await sql.query<HeldPerson>(
    `select id, email, groups, state = 'active' as active from people
     where realm = $1 and id = any($2::uuid[]) order by id
     for ${alone ? 'no key update' : 'share'}`,
    [realm, ids],
  )
  return new Map(rows.map((row) => [row.id, row]))
}
