/** Lists that go on by the moment at which something was made, and by its id where two were made in one millisecond. */
import { z } from 'zod'
import { id } from './api/names.ts'
import { decodeCursor, encodeCursor } from './audit/cursor.ts'

const place = z.tuple([z.int().nonnegative(), id])

/** After what a page goes on: two nulls for the first one. Throws `request-invalid` for a cursor that is not ours. */
export function placeOf(query: {
  readonly cursor?: string | undefined
}): (string | number | null)[] {
  return query.cursor === undefined ? [null, null] : decodeCursor(place, query.cursor)
}

/** A page of rows of which one more than `limit` was asked for, and the cursor of the next one. */
export function pageOf<Row, Item extends { readonly id: string }>(
  rows: readonly Row[],
  limit: number,
  viewOf: (row: Row) => Item,
  momentOf: (item: Item) => number,
): { items: Item[]; next: string | null } {
  const items = rows.slice(0, limit).map(viewOf)
  const last = items.at(-1)
  const more = rows.length > limit && last !== undefined
  return { items, next: more ? encodeCursor([momentOf(last), last.id]) : null }
}
