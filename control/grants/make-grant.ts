import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import type { Resource } from '../api/resource.ts'
import type { Grant, grantMake } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { conflict, missing, notAllowed } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { viewOf, type GrantRow } from './grant-row.ts'
import { grantMade, insertGrant } from './write-grant.ts'

/**
 * Makes a grant that starts now. The grant, its event and its record are one transaction. Nobody makes one for
 * themselves. Rejects with `not-found`, `conflict` or `not-allowed`.
 */
export async function makeGrant(
  control: Control,
  actor: Actor,
  ask: z.output<typeof grantMake>,
): Promise<Grant> {
  const { realm } = control
  return control.state.transaction(async (sql) => {
    const person = await findPerson(sql, realm, ask.person)
    if (person.id === actor.id) {
      throw notAllowed('nobody makes a grant for themselves', 'ask another admin to make it')
    }
    const resource = await findResource(sql, realm, ask.resource)
    if (resource.levels[ask.level] === undefined) {
      throw conflict(
        `${ask.resource} does not offer level ${ask.level}`,
        `it offers ${Object.keys(resource.levels).join(', ')}`,
      )
    }
    const madeAtMs = nowMs(control.clock)
    const row: GrantRow = {
      id: randomUUID(),
      revision: 1,
      personId: person.id,
      personEmail: person.email,
      resource: ask.resource,
      level: ask.level,
      group: resource.group,
      reason: ask.reason,
      madeBy: actor.email,
      madeAtMs,
      expiresAtMs: madeAtMs + ask.forMs,
      revokedAtMs: null,
      revokedBy: null,
      revokeReason: null,
    }
    const token = await insertGrant(sql, control, row, null)
    await appendControlAction(sql, control.chain, actor, grantMade(row))
    await appendFeed(sql, realm, [{ group: row.group, event: { kind: 'grant', token } }], madeAtMs)
    return viewOf(row, madeAtMs)
  })
}

async function findPerson(sql: Sql, realm: string, email: string) {
  // Held to the commit: a revocation of the person comes before this grant or after it.
  const [person] = await sql.query<{ id: string; email: string; state: string }>(
    'select id, email, state from people where realm = $1 and email = $2 for share',
    [realm, email],
  )
  if (person === undefined) throw missing(`person ${email}`, 'sally people lists them')
  if (person.state !== 'active') {
    throw conflict(`${email} is revoked`, 'restore the person first')
  }
  return person
}

async function findResource(sql: Sql, realm: string, name: string): Promise<Resource> {
  const [row] = await sql.query<{ definition: Resource }>(
    'select definition from resources where realm = $1 and name = $2 for share',
    [realm, name],
  )
  if (row === undefined) throw missing(`resource ${name}`, 'sally resources lists them')
  return row.definition
}
