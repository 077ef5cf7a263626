import { z } from 'zod'
import { id } from '../api/names.ts'
import type { pageQuery, Person } from '../api/shapes.ts'
import { decodeCursor, encodeCursor } from '../audit/cursor.ts'
import type { Control } from '../control.ts'
import { personColumns, viewOf, type PersonRow } from './person-row.ts'

const place = z.tuple([z.int().nonnegative(), id])

/** Oldest first. */
export async function listPeople(
  { realm, state }: Pick<Control, 'realm' | 'state'>,
  query: z.output<typeof pageQuery>,
): Promise<{ items: Person[]; next: string | null }> {
  const [createdAtMs, after] =
    query.cursor === undefined ? [null, null] : decodeCursor(place, query.cursor)
  const rows = await state.query<PersonRow>(
    `select ${personColumns} from people
     where realm = $1 and ($2::bigint is null or (created_at_ms, id) > ($2, $3::uuid))
     order by created_at_ms, id limit $4`,
    [realm, createdAtMs, after, query.limit + 1],
  )
  const items = rows.slice(0, query.limit).map(viewOf)
  const last = items.at(-1)
  const more = rows.length > query.limit && last !== undefined
  return { items, next: more ? encodeCursor([last.createdAtMs, last.id]) : null }
}
