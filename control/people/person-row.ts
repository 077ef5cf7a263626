import type { Role } from '../api/names.ts'
import type { Person } from '../api/shapes.ts'
import { notFound } from '../refusals.ts'
import type { Sql } from '../store/store.ts'

export interface PersonRow {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly roles: Role[]
  readonly groups: string[]
  readonly state: 'active' | 'revoked'
  readonly createdAtMs: number
  readonly revokedAtMs: number | null
  readonly certificatesValidFromMs: number
}

export const personColumns = `
  id, email, name, roles, groups, state, created_at_ms as "createdAtMs", revoked_at_ms as "revokedAtMs",
  certificates_valid_from_ms as "certificatesValidFromMs"`

export function viewOf({ id, email, name, roles, groups, state, createdAtMs }: PersonRow): Person {
  return { id, email, name, roles, groups, state, createdAtMs }
}

/** Holds the row to the commit. Rejects with `not-found`. */
export async function lockPerson(sql: Sql, realm: string, id: string): Promise<PersonRow> {
  const [row] = await sql.query<PersonRow>(
    `select ${personColumns} from people where realm = $1 and id = $2 for update`,
    [realm, id],
  )
  if (row === undefined) throw notFound('person')
  return row
}
