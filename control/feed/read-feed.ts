import type { FeedEvent } from '../api/feed.ts'
import type { Sql } from '../store/store.ts'

export interface FeedRow {
  readonly position: number
  readonly group: string | null
  readonly event: FeedEvent
}

/** Up to `limit` rows after a position, in order. Fewer than `limit` means that the reader has come to the head. */
export function readFeed(
  sql: Sql,
  realm: string,
  after: number,
  limit: number,
): Promise<FeedRow[]> {
  return sql.query<FeedRow>(
    `select position, group_name as "group", payload as event from feed
     where realm = $1 and position > $2 order by position limit $3`,
    [realm, after, limit],
  )
}

export interface FeedBounds {
  readonly position: number
  /** Rows up to here may be gone. */
  readonly floor: number
}

export async function readFeedBounds(sql: Sql, realm: string): Promise<FeedBounds> {
  const [row] = await sql.query<FeedBounds>(
    'select position, floor from feed_heads where realm = $1',
    [realm],
  )
  return row!
}

/** Whether a cursor can be read on from: not older than what is kept, and not of another database. */
export function isReadable(cursor: number, { position, floor }: FeedBounds): boolean {
  return cursor >= floor && cursor <= position
}
