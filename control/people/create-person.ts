import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import type { Person, personCreate } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { conflict } from '../refusals.ts'
import { isDuplicate } from '../store/query-error.ts'
import { viewOf, type PersonRow } from './person-row.ts'

/** Rejects with `conflict` if the address is taken. */
export async function createPerson(
  control: Control,
  actor: Actor,
  ask: z.output<typeof personCreate>,
): Promise<Person> {
  const { realm } = control
  const row: PersonRow = {
    id: randomUUID(),
    email: ask.email,
    name: ask.name ?? '',
    roles: [...new Set(ask.roles)],
    groups: [...new Set(ask.groups)],
    state: 'active',
    createdAtMs: nowMs(control.clock),
    revokedAtMs: null,
    certificatesValidFromMs: 0,
  }
  try {
    await control.state.transaction(async (sql) => {
      await sql.query(
        `insert into people (realm, id, issuer, subject, email, name, roles, state, created_at_ms,
           certificates_valid_from_ms, groups)
         values ($1, $2, 'local', $3, $4, $5, $6, 'active', $7, 0, $8)`,
        [realm, row.id, row.id, row.email, row.name, row.roles, row.createdAtMs, row.groups],
      )
      await appendControlAction(sql, control.chain, actor, {
        action: 'person.created',
        target: row.id,
        details: { email: row.email, name: row.name, roles: row.roles, groups: row.groups },
      })
    })
  } catch (error) {
    if (isDuplicate(error)) throw conflict(`there is a person with the address ${ask.email}`)
    throw error
  }
  return viewOf(row)
}
