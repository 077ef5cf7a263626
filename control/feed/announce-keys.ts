import { nowMs, type Control } from '../control.ts'
import { takeLock } from '../store/advisory-lock.ts'
import type { FeedEvent } from '../api/feed.ts'
import { appendFeed } from './append-feed.ts'
import { authorityEvents, keysEvent } from './full-state.ts'

/**
 * Tells proxies the keys and authorities that are valid now, if the feed did not say so last. Proxies that are connected learn
 * of new ones by this, and others at their next resync.
 */
export async function announceKeys(control: Control): Promise<void> {
  const { realm, state, keys, clock } = control
  const events: FeedEvent[] = [keysEvent(keys), ...authorityEvents(keys)]
  await state.transaction(async (sql) => {
    await takeLock(sql, 'keys', realm)
    const missing: FeedEvent[] = []
    for (const event of events) {
      const [last] = await sql.query<{ same: boolean }>(
        `select payload = $3::jsonb as same from feed where realm = $1 and kind = $2
         order by position desc limit 1`,
        [realm, event.kind, JSON.stringify(event)],
      )
      if (last?.same !== true) missing.push(event)
    }
    if (missing.length === 0) return
    await appendFeed(
      sql,
      realm,
      missing.map((event) => ({ group: null, event })),
      nowMs(clock),
    )
  })
}
