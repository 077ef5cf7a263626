import type { FeedEvent } from '../api/feed.ts'
import { takeLock } from '../store/advisory-lock.ts'
import type { Sql } from '../store/store.ts'

export interface FeedEntry {
  /** Null: for every group. */
  readonly group: string | null
  readonly event: FeedEvent
}

/** Rung when rows of the feed were committed, and for nothing else. */
export const feedChannel = 'sallyport_feed'

/**
 * Appends events within the caller's transaction and returns the last position. The lock is held to the commit, and
 * positions are given under it, so that they are in commit order: whoever reads up to a position has read all before it. The
 * last thing a transaction does, because every other change waits for it from here on.
 */
export async function appendFeed(
  sql: Sql,
  realm: string,
  entries: readonly FeedEntry[],
  atMs: number,
): Promise<number> {
  await takeLock(sql, 'feed', realm)
  const [head] = await sql.query<{ position: number }>(
    'update feed_heads set position = position + $2 where realm = $1 returning position',
    [realm, entries.length],
  )
  const last = head!.position
  const first = last - entries.length + 1
  await sql.query(
    `insert into feed (realm, position, group_name, kind, payload, created_at_ms)
     select $1, position, group_name, kind, payload::jsonb, $6
     from unnest($2::bigint[], $3::text[], $4::text[], $5::text[])
       as t (position, group_name, kind, payload)`,
    [
      realm,
      entries.map((_, index) => first + index),
      entries.map(({ group }) => group),
      entries.map(({ event }) => event.kind),
      entries.map(({ event }) => JSON.stringify(event)),
      atMs,
    ],
  )
  await sql.query(`notify ${feedChannel}`)
  return last
}
