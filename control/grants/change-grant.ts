/** What extending and revoking share: a live grant, locked to the commit. */
import { nowMs, type Actor, type Control } from '../control.ts'
import { conflict, notAllowed, notFound } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { grantColumns, stateOf, type GrantRow } from './grant-row.ts'

export async function lockGrant(sql: Sql, realm: string, id: string): Promise<GrantRow> {
  const [row] = await sql.query<GrantRow>(
    `select ${grantColumns} from grants where realm = $1 and id = $2 for update`,
    [realm, id],
  )
  if (row === undefined) throw notFound('grant')
  return row
}

/** Throws `conflict` if it has ended. */
export function requireLive(control: Pick<Control, 'clock'>, row: GrantRow): void {
  const state = stateOf(row, nowMs(control.clock))
  if (state === 'live') return
  throw conflict(
    state === 'revoked' ? 'this grant was revoked' : 'this grant has ended already',
    'make a new one: sally grant',
  )
}

/** Throws `not-allowed` for one's own. */
export function requireAnothers(actor: Actor, row: GrantRow): void {
  if (row.personId === actor.id) {
    throw notAllowed('nobody extends their own grant', 'ask another admin to extend it')
  }
}
