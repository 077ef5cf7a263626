/** A session as it goes on: what was done, in order, as soon as it is indexed. */
import { z } from 'zod'
import type { ActivityView, SessionView } from '../api/shapes.ts'
import type { Sql } from '../store/store.ts'
import { selectActivities, viewOf, type ActivityViewRow } from './activity-view.ts'
import type { AuditContext } from './dependencies.ts'
import { lookUntil, type Patience } from './look-until.ts'
import { getSession } from './sessions.ts'

const count = z.int().nonnegative()
/** Where a watch is. */
export const watchPlace = z.strictObject({
  /** Number, in control's own chain, of the reading that this watch is. */
  reading: count,
  /** Everything up to this sequence was shown. */
  after: count,
  /** Microseconds since 1970 of the last that was shown. */
  afterUs: count,
  /** Sequence and time of those that were shown without an outcome. */
  open: z.array(z.tuple([count, count])).max(100),
  /** Once it is closed: the sequence that the chain had then. */
  last: count.nullable(),
})
export type WatchPlace = z.output<typeof watchPlace>

export interface Watched {
  session: SessionView
  items: ActivityView[]
  place: WatchPlace
  ended: boolean
}

const openMax = 100
/** Clocks of proxies that were set back further than what is allowed between them and control: not looked for. */
const setBackUs = 2_000_000

type Scope = Pick<AuditContext, 'store' | 'realm' | 'clock'>

/**
 * What came after `place`: settled ones first, then new ones. Looks again until there is something, for up to `waitMs` or
 * until `signal` aborts. Where more than a hundred run at a time, later ones are shown as earlier ones end.
 * Rejects with `not-found`. The caller has checked rights, and that this reading is on record.
 */
export function watchSession(
  scope: Scope,
  sessionId: string,
  place: WatchPlace,
  options: Patience & { readonly limit: number },
): Promise<Watched> {
  return lookUntil(
    scope.clock,
    options,
    () => look(scope, sessionId, place, options.limit),
    ({ items, ended }) => items.length > 0 || ended,
  )
}

async function look(
  { store, realm }: Scope,
  sessionId: string,
  place: WatchPlace,
  limit: number,
): Promise<Watched> {
  // In this order: what is indexed when the session is seen to be closed may still be behind what it did.
  const session = await getSession({ store, realm }, sessionId, { personId: undefined })
  const [chain] = await store.query<{
    chain_id: number
    last_sequence: number
    indexed_sequence: number
  }>(
    `select s.chain_id, c.last_sequence, p.indexed_sequence
     from sessions s join audit_chains c using (chain_id) join index_progress p using (chain_id)
     where s.realm = $1 and s.session_id = $2`,
    [realm, sessionId],
  )
  const last = session.state === 'closed' ? (place.last ?? chain?.last_sequence ?? 0) : null
  const settled = await readSettled(store, realm, sessionId, place)
  const open = place.open.filter(([sequence]) => settled.every((row) => row.sequence !== sequence))
  const whole = last !== null && (chain?.indexed_sequence ?? 0) >= last
  // At the end nothing will settle any more that has not.
  const room = whole ? limit : openMax - open.length
  const fresh = await readFresh(store, realm, sessionId, place, limit)
  const shown = untilFull(fresh, room)
  for (const row of shown) {
    if (row.outcome_status === null) open.push([row.sequence, row.at_us])
  }
  return {
    session,
    items: [...settled, ...shown].map(viewOf),
    place: {
      ...place,
      after: Math.max(place.after, ...shown.map(({ sequence }) => sequence)),
      afterUs: Math.max(place.afterUs, ...shown.map((row) => row.at_us)),
      open: open.slice(-openMax),
      last,
    },
    ended: whole && shown.length === fresh.length && fresh.length < limit,
  }
}

/** Those from the front that leave no more than `room` without an outcome. */
function untilFull(rows: readonly ActivityViewRow[], room: number): ActivityViewRow[] {
  let left = room
  const end = rows.findIndex((row) => row.outcome_status === null && --left < 0)
  return end < 0 ? [...rows] : rows.slice(0, end)
}

function readFresh(
  sql: Sql,
  realm: string,
  sessionId: string,
  { after, afterUs }: WatchPlace,
  limit: number,
): Promise<ActivityViewRow[]> {
  const rows = `select a.* from audit_activities a
    where a.realm = $1 and a.session_id = $2 and a.at_us >= $3 and a.sequence > $4
      and a.recording is null
    order by a.at_us, a.sequence limit ${limit}`
  // In the order of the index, so that a page of a long session costs a page.
  return sql.query<ActivityViewRow>(`${selectActivities(rows)} order by a.at_us, a.sequence`, [
    realm,
    sessionId,
    Math.max(0, afterUs - setBackUs),
    after,
  ])
}

async function readSettled(
  sql: Sql,
  realm: string,
  sessionId: string,
  { open }: WatchPlace,
): Promise<ActivityViewRow[]> {
  if (open.length === 0) return []
  const rows = `select a.* from audit_activities a
    where a.realm = $1 and a.session_id = $2 and a.at_us between $3 and $4 and a.sequence = any($5::bigint[])`
  const times = open.map(([, atUs]) => atUs)
  const found = await sql.query<ActivityViewRow>(`${selectActivities(rows)} order by a.sequence`, [
    realm,
    sessionId,
    Math.min(...times),
    Math.max(...times),
    open.map(([sequence]) => sequence),
  ])
  return found.filter((row) => row.outcome_status !== null || row.outcome_lost === true)
}
