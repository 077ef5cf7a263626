/** Lists that go on by the moment at which something was made, and by its id where two were made in one millisecond. */
import { z } from 'zod'
import { id } from './api/names.ts'
import { decodeCursor, encodeCursor } from './audit/cursor.ts'

const place = z.tuple([z.int().nonnegative(), id])

interface PageQuery {
  readonly limit: number
  readonly cursor?: string | undefined
}

/**
 * One page of a list, and the cursor of the next one. `read` gets three parameters for the end of its statement: moment and id of the last row of the
 * page before (two nulls for the first page), and how many rows to read at most. Rejects with `request-invalid` for a cursor that is not ours.
 */
export async function readPage<Row, Item extends { readonly id: string }>(
  { limit, cursor }: PageQuery,
  read: (page: readonly (string | number | null)[]) => Promise<Row[]>,
  viewOf: (row: Row) => Item,
  momentOf: (item: Item) => number,
): Promise<{ items: Item[]; next: string | null }> {
  const after = cursor === undefined ? [null, null] : decodeCursor(place, cursor)
  // One more than is shown says whether there is a next page.
  const rows = await read([...after, limit + 1])
  const items = rows.slice(0, limit).map((row) => viewOf(row))
  const last = items.at(-1)
  const more = rows.length > limit && last !== undefined
  return { items, next: more ? encodeCursor([momentOf(last), last.id]) : null }
}
