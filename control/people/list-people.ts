import type { z } from 'zod'
import type { pageQuery, Person } from '../api/shapes.ts'
import type { Control } from '../control.ts'
import { readPage } from '../read-page.ts'
import { personColumns, viewOf, type PersonRow } from './person-row.ts'

/** Oldest first. */
export async function listPeople(
  { realm, state }: Pick<Control, 'realm' | 'state'>,
  query: z.output<typeof pageQuery>,
): Promise<{ items: Person[]; next: string | null }> {
  return readPage(
    query,
    (page) =>
      state.query<PersonRow>(
        `select ${personColumns} from people
     where realm = $1 and ($2::bigint is null or (created_at_ms, id) > ($2, $3::uuid))
     order by created_at_ms, id limit $4`,
        [realm, ...page],
      ),
    (row) => viewOf(row),
    ({ createdAtMs }) => createdAtMs,
  )
}
