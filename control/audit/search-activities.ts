import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import { outcomeStatuses } from '../api/activity.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ActivityView, auditQuery } from '../api/shapes.ts'
import { QueryError } from '../store/query-error.ts'
import type { Sql } from '../store/store.ts'
import { selectActivities, viewOf, type ActivityViewRow } from './activity-view.ts'
import { cleanText } from './clean-text.ts'
import { decodeCursor, encodeCursor } from './cursor.ts'
import type { AuditContext } from './dependencies.ts'

export type ActivityQuery = z.output<typeof auditQuery>

export interface ActivityPage {
  items: ActivityView[]
  next: string | null
}

export interface SearchLimits {
  /** Rows that one statement looks at; between two, other work of the store comes in. Default 10,000. */
  readonly rowsAtOnce: number
  /** A search answers with what it has after this long, and with where to go on. Default 10 s. */
  readonly deadlineMs: number
  /** One statement, where the engine can stop it (PGlite cannot). Default 5 s. */
  readonly statementMs: number
}

export const defaultSearchLimits: Readonly<SearchLimits> = {
  rowsAtOnce: 10_000,
  deadlineMs: 10_000,
  statementMs: 5_000,
}

/** Where a row is in the order of the index: time, chain, sequence. */
const place = z.tuple([z.int().nonnegative(), z.int().nonnegative(), z.int().nonnegative()])
type Place = z.infer<typeof place>

/**
 * Finds activities. Bounded whatever is asked: it goes through the index in windows, and a page may have less than
 * `limit` (even no) items and yet a `next`, when the deadline came first. Rejects with `request-invalid` for a
 * cursor that is not ours. The caller has checked rights and has audited the search.
 */
export async function searchActivities(
  { store, realm, clock }: Pick<AuditContext, 'store' | 'realm' | 'clock'>,
  query: ActivityQuery,
  limits: SearchLimits = defaultSearchLimits,
): Promise<ActivityPage> {
  const search = createSearch(realm, query)
  const endMs = clock.monotonicMs() + limits.deadlineMs
  const items: ActivityView[] = []
  let from = query.cursor === undefined ? undefined : decodeCursor(place, query.cursor)
  const sieves = await sievesOf(store, query)
  for (;;) {
    const left = query.limit - items.length
    const { rows, end } = await bounded(store, limits.statementMs, async (sql) => {
      const to =
        sieves.length === 0 ? undefined : await search.windowEnd(sql, from, limits.rowsAtOnce)
      return { rows: await search.rows(sql, from, to, sieves, left + 1), end: to }
    })
    items.push(...rows.slice(0, left).map(viewOf))
    if (rows.length > left) return { items, next: encodeCursor(placeOf(rows[left - 1]!)) }
    if (end === undefined) return { items, next: null }
    from = end
    const full = items.length === query.limit
    if (full || clock.monotonicMs() >= endMs) return { items, next: encodeCursor(end) }
    await setImmediate()
  }
}

/** Runs inside a transaction with a statement timeout; a statement that hits it becomes an error with a hint. */
async function bounded<T>(
  store: AuditContext['store'],
  statementMs: number,
  run: (sql: Sql) => Promise<T>,
): Promise<T> {
  try {
    return await store.transaction(async (sql) => {
      await sql.query(`select set_config('statement_timeout', $1, true)`, [String(statementMs)])
      return run(sql)
    })
  } catch (error) {
    // query_canceled (PostgreSQL, Appendix A).
    if (!(error instanceof QueryError && error.sqlState === '57014')) throw error
    throw new SallyportError('store-unavailable', 'an audit search hit its statement timeout', {
      clientMessage: 'the search took too long and was stopped',
      hint: 'narrow it with --since, --person, --resource or --session',
      cause: error,
    })
  }
}

interface Search {
  /** The last place that a window of `rowsAtOnce` rows has; undefined if it reaches the end. */
  windowEnd(sql: Sql, from: Place | undefined, rowsAtOnce: number): Promise<Place | undefined>
  rows(
    sql: Sql,
    from: Place | undefined,
    to: Place | undefined,
    sieves: readonly Sieve[],
    limit: number,
  ): Promise<ActivityViewRow[]>
}

function createSearch(realm: string, query: ActivityQuery): Search {
  const newest = query.order === 'newest'
  const direction = newest ? 'desc' : 'asc'
  const order = `order by a.at_us ${direction}, a.chain_id ${direction}, a.sequence ${direction}`
  const filters: [string, unknown][] = [['a.realm = ', realm]]
  if (query.session !== undefined) filters.push(['a.session_id = ', query.session])
  if (query.person !== undefined) filters.push(['a.person_email = ', query.person])
  if (query.resource !== undefined) filters.push(['a.resource = ', query.resource])
  if (query.since !== undefined) filters.push(['a.at_us >= ', query.since * 1_000])
  // `until` is a moment in milliseconds: all of that millisecond counts.
  if (query.until !== undefined) filters.push(['a.at_us < ', (query.until + 1) * 1_000])

  const where = (from: Place | undefined, to: Place | undefined): [string, unknown[]] => {
    const values = filters.map(([, value]) => value)
    const conditions = filters.map(([condition], index) => `${condition}$${index + 1}`)
    const compare = (operator: string, at: Place): void => {
      // The first condition says the same of the time alone: partitions are left out by it.
      const next = values.length + 1
      conditions.push(
        `a.at_us ${operator[0]}= $${next} and
         (a.at_us, a.chain_id, a.sequence) ${operator} ($${next}, $${next + 1}, $${next + 2})`,
      )
      values.push(...at)
    }
    if (from !== undefined) compare(newest ? '<' : '>', from)
    if (to !== undefined) compare(newest ? '>=' : '<=', to)
    return [conditions.join(' and '), values]
  }

  return {
    async windowEnd(sql, from, rowsAtOnce) {
      const [conditions, values] = where(from, undefined)
      const rows = await sql.query<PlaceRow>(
        `select a.at_us, a.chain_id, a.sequence from audit_activities a where ${conditions} ${order}
         limit 1 offset ${rowsAtOnce - 1}`,
        values,
      )
      return rows[0] && placeOf(rows[0])
    },

    async rows(sql, from, to, sieves, limit) {
      const [conditions, values] = where(from, to)
      const wanted = [conditions]
      for (const { condition, value } of sieves) {
        values.push(value)
        wanted.push(condition(`$${values.length}`))
      }
      const matching = `select a.* from audit_activities a where ${wanted.join(' and ')} ${order} limit ${limit}`
      return sql.query<ActivityViewRow>(`${selectActivities(matching)} ${order}`, values)
    },
  }
}

/** A condition that no index answers: rows are looked at one by one, in windows. */
interface Sieve {
  readonly value: unknown
  readonly condition: (parameter: string) => string
}

async function sievesOf(sql: Sql, { text, level, outcome }: ActivityQuery): Promise<Sieve[]> {
  const sieves: Sieve[] = []
  if (text !== undefined && text !== '') sieves.push(await textSieve(sql, text))
  if (level !== undefined) {
    const condition = (parameter: string): string =>
      `exists (select from sessions s where s.realm = a.realm and s.session_id = a.session_id and s.level = ${parameter})`
    sieves.push({ value: level, condition })
  }
  if (outcome === 'running') {
    const condition = (parameter: string): string =>
      `a.outcome_status is null and a.recording is null and ${outcomeLost} is distinct from ${parameter}::boolean`
    sieves.push({ value: true, condition })
  } else if (outcome !== undefined) {
    const orLost =
      outcome === 'unknown'
        ? `or a.outcome_status is null and a.recording is null and ${outcomeLost}`
        : ''
    const condition = (parameter: string): string => `(a.outcome_status = ${parameter} ${orLost})`
    sieves.push({ value: outcomeStatuses[outcome], condition })
  }
  return sieves
}

/** As `selectActivities` has it: its proxy died before it said how this went. */
const outcomeLost = `exists (
  select from sessions s join index_progress p on p.chain_id = a.chain_id
    join audit_chains c on c.chain_id = a.chain_id
  where s.realm = a.realm and s.session_id = a.session_id and s.end_reason = 'proxy-lost'
    and p.indexed_sequence >= c.last_sequence)`

/** Part of a text, whatever its case; `%`, `_` and `\` stand for themselves. */
async function textSieve(sql: Sql, text: string): Promise<Sieve> {
  // Letters beyond ASCII fold only under a collation that knows them; PostgreSQL has this one from 17 on.
  const rows = await sql.query<{ found: boolean }>(
    `select exists (select 1 from pg_collation where collname = 'pg_c_utf8') as found`,
  )
  const collation = rows[0]?.found === true ? 'collate pg_catalog."pg_c_utf8"' : ''
  return {
    value: `%${cleanText(text).replace(/[\\%_]/g, String.raw`\$&`)}%`,
    condition: (parameter) => `a.text ${collation} ilike ${parameter} escape '\\'`,
  }
}

interface PlaceRow {
  at_us: number
  chain_id: number
  sequence: number
}

function placeOf(row: PlaceRow): Place {
  return [row.at_us, row.chain_id, row.sequence]
}
