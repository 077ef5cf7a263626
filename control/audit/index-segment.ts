/** Indexes one stored segment for search, in slices: each is a transaction, so that nothing waits long behind it. */
import { decodeBatch, type Entry } from '../api/audit/decode.ts'
import type { Sql } from '../store/store.ts'
import type { AuditContext } from './dependencies.ts'
import { activityRow, outcomeRow, type ActivityRow, type OutcomeRow } from './index-rows.ts'
import { indexRecordings, recordingStep, type RecordingStep } from './index-recordings.ts'
import { dayOfUs, type Partitions } from './partitions.ts'
import { destroyedKeys } from './session-keys.ts'
import { readStoredPayloads, type SegmentPlace } from './stored-payloads.ts'

export interface UnindexedSegment extends SegmentPlace {
  /** Entries up to this sequence are indexed. */
  readonly indexedSequence: number
  readonly lastSequence: number
}

/** Another replica indexed the same segment meanwhile. */
export class IndexOvertaken extends Error {}

interface Slice {
  after: number
  last: number
  activities: Map<number, ActivityRow>
  /** Outcomes of activities of earlier slices. */
  outcomes: OutcomeRow[]
  recordings: RecordingStep[]
  anomalies: number
}

export interface IndexOptions {
  /** Entries in one transaction. */
  readonly entriesAtOnce: number
  /** Called after each slice; false stops (the rest is done the next time). */
  readonly proceed: () => Promise<boolean>
  /** Goes on holding the chain until then. Unix milliseconds. */
  readonly claimUntilMs: () => number
}

/** Rejects with `IndexOvertaken`; what was committed before stays. */
export async function indexSegment(
  context: AuditContext,
  partitions: Partitions,
  segment: UnindexedSegment,
  options: IndexOptions,
): Promise<void> {
  const [row] = await context.store.query<{ skeleton: Buffer }>(
    'select skeleton from audit_segments where chain_id = $1 and first_batch = $2',
    [segment.chainId, segment.firstBatch],
  )
  if (row === undefined) return
  const payloads = await readStoredPayloads(context, segment)
  let slice = emptySlice(segment.indexedSequence)
  for (let offset = 0; offset < row.skeleton.length;) {
    const batch = decodeBatch(row.skeleton, offset)
    offset += batch.bytes.length
    for (const entry of batch.entries) {
      if (entry.sequence <= segment.indexedSequence) continue
      addToSlice(slice, entry, payloads.get(entry.sequence))
      const isLast = entry.sequence === segment.lastSequence
      if (!isLast && slice.last - slice.after < options.entriesAtOnce) continue
      const claim = isLast ? 0 : options.claimUntilMs()
      await writeSlice(context, partitions, segment, slice, isLast, claim)
      slice = emptySlice(entry.sequence)
      if (!isLast && !(await options.proceed())) return
    }
  }
}

function emptySlice(after: number): Slice {
  return { after, last: after, activities: new Map(), outcomes: [], recordings: [], anomalies: 0 }
}

function addToSlice(slice: Slice, entry: Entry, payload: Buffer | undefined): void {
  slice.last = entry.sequence
  if (entry.type === 'activity') {
    // A payload that is gone was deleted with its key: so is its place in the index.
    if (payload === undefined) return
    const activity = activityRow(entry, payload)
    if (activity === undefined) slice.anomalies += 1
    else slice.activities.set(entry.sequence, activity)
  } else if (entry.type === 'outcome') {
    const outcome = outcomeRow(entry, payload)
    if (outcome === undefined) {
      slice.anomalies += 1
      return
    }
    const activity = slice.activities.get(entry.reference)
    if (activity === undefined) slice.outcomes.push(outcome)
    else if (activity.session_id === entry.sessionId) activity.outcome ??= outcome
    else slice.anomalies += 1
  } else if (entry.type === 'recording' || entry.type === 'recording-ended') {
    const step = recordingStep(entry, payload)
    if (step === undefined) slice.anomalies += 1
    else slice.recordings.push(step)
  }
}

async function writeSlice(
  context: AuditContext,
  partitions: Partitions,
  segment: UnindexedSegment,
  slice: Slice,
  isLast: boolean,
  claimUntilMs: number,
): Promise<void> {
  const { store, realm, clock, metrics, log } = context
  const activities = [...slice.activities.values()]
  const times = [
    ...activities.map(({ at_us }) => at_us),
    ...slice.recordings.map(({ atUs }) => atUs),
  ]
  await partitions.ensure(new Set(times.map(dayOfUs)))
  let strangers = 0
  await store.transaction(async (sql) => {
    const [progress] = await sql.query<{ indexed_sequence: number }>(
      'select indexed_sequence from index_progress where chain_id = $1 for update',
      [segment.chainId],
    )
    if (progress?.indexed_sequence !== slice.after) throw new IndexOvertaken()
    strangers = await insertActivities(sql, realm, segment, activities)
    strangers += await indexRecordings(sql, realm, segment, slice.recordings)
    await settleEarlier(sql, realm, segment.chainId, slice.outcomes)
    await sql.query(
      `update index_progress set indexed_sequence = $2, entries_indexed = entries_indexed + $3,
         claimed_until_ms = $4 where chain_id = $1`,
      [segment.chainId, slice.last, slice.last - slice.after, claimUntilMs],
    )
    if (isLast) {
      await sql.query(
        'update audit_segments set indexed_at_ms = $3 where chain_id = $1 and first_batch = $2',
        [segment.chainId, segment.firstBatch, Math.floor(clock.wallMs())],
      )
    }
  })
  metrics.indexed(slice.last - slice.after)
  const anomalies = slice.anomalies + strangers
  if (anomalies === 0) return
  metrics.anomalies(anomalies)
  log.error(
    { proxyId: segment.proxyId, epoch: segment.epoch, anomalies },
    'audit entries cannot be indexed: no such session of this proxy, or not understood; they are stored',
  )
}

interface SessionRow {
  session_id: string
  person_email: string
  resource: string
}

/** Returns how many belong to no session of this proxy. */
async function insertActivities(
  sql: Sql,
  realm: string,
  { chainId, proxyId }: SegmentPlace,
  activities: readonly ActivityRow[],
): Promise<number> {
  if (activities.length === 0) return 0
  const ids = [...new Set(activities.map((activity) => activity.session_id))]
  const destroyed = await destroyedKeys(sql, realm, proxyId, ids)
  const sessions = await sql.query<SessionRow>(
    `select session_id, person_email, resource from sessions
     where realm = $1 and proxy_id = $2 and session_id = any($3::uuid[])`,
    [realm, proxyId, ids],
  )
  const known = new Set(sessions.map((session) => session.session_id))
  const rows = activities.filter(
    ({ session_id }) => known.has(session_id) && !destroyed.has(session_id),
  )
  const pending = rows.filter((row) => row.outcome === undefined)
  const place = new Map(sessions.map((session, index) => [session.session_id, index]))
  const flat = rows.map(({ session_id, outcome, ...row }) => ({
    s: place.get(session_id),
    ...row,
    ...outcome,
  }))
  const places = sessions.map((session, s) => ({ s, ...session }))
  await sql.query(insertRows, [realm, chainId, JSON.stringify(flat), JSON.stringify(places)])
  if (pending.length > 0) {
    const open = pending.map(({ sequence, at_us, session_id }) => ({ sequence, at_us, session_id }))
    await sql.query(insertPending, [realm, chainId, JSON.stringify(open)])
  }
  return activities.filter(({ session_id }) => !known.has(session_id)).length
}

/** Outcomes know their activity by sequence; the pending row knows where in the index it is. */
async function settleEarlier(
  sql: Sql,
  realm: string,
  chainId: number,
  outcomes: readonly OutcomeRow[],
): Promise<void> {
  if (outcomes.length === 0) return
  const references = outcomes.map((outcome) => outcome.reference)
  const found = await sql.query<{ sequence: number; at_us: number }>(
    `delete from pending_outcomes where chain_id = $1 and sequence = any($2::bigint[])
     returning sequence, at_us`,
    [chainId, references],
  )
  if (found.length === 0) return
  const places = new Map(found.map(({ sequence, at_us }) => [sequence, at_us]))
  const rows = outcomes
    .filter((outcome) => places.has(outcome.reference))
    .map((outcome) => ({ at_us: places.get(outcome.reference), ...outcome }))
  const times = found.map(({ at_us }) => at_us)
  await sql.query(updateOutcomes, [
    realm,
    chainId,
    JSON.stringify(rows),
    // The bounds let the planner leave other days alone.
    Math.min(...times),
    Math.max(...times),
  ])
}

// One flat record a row, and the session by number: a third faster than nested ones.
const insertRows = `
  insert into audit_activities (
    realm, chain_id, at_us, sequence, session_id, person_email, resource, kind, text, text_blob,
    text_blob_bytes, prepared_name, parameters, parameters_blob, parameters_blob_bytes, redacted,
    outcome_status, outcome_rows, outcome_bytes_up, outcome_bytes_down, outcome_duration_us, outcome_tag,
    outcome_error_code, outcome_error_text)
  select $1::text, $2::bigint, u.at_us, u.sequence, s.session_id, s.person_email, s.resource, u.kind,
    u.text, u.text_blob, u.text_blob_bytes, u.prepared_name, u.parameters, u.parameters_blob,
    u.parameters_blob_bytes, u.redacted, u.status, u.rows, u.bytes_up, u.bytes_down, u.duration_us, u.tag,
    u.error_code, u.error_text
  from json_to_recordset($3::json) u (s integer, at_us bigint, sequence bigint, kind smallint,
      text text, text_blob text, text_blob_bytes bigint, prepared_name text, parameters jsonb,
      parameters_blob text, parameters_blob_bytes bigint, redacted boolean, status smallint, rows bigint,
      bytes_up bigint, bytes_down bigint, duration_us bigint, tag text, error_code text,
      error_text text)
    join json_to_recordset($4::json) s (s integer, session_id uuid, person_email text, resource text)
      using (s)
  on conflict do nothing`

const insertPending = `
  insert into pending_outcomes (realm, chain_id, sequence, at_us, session_id)
  select $1::text, $2::bigint, u.sequence, u.at_us, u.session_id
  from json_to_recordset($3::json) u (sequence bigint, at_us bigint, session_id uuid)
  on conflict do nothing`

const updateOutcomes = `
  update audit_activities a
  set outcome_status = o.status, outcome_rows = o.rows, outcome_bytes_up = o.bytes_up,
    outcome_bytes_down = o.bytes_down, outcome_duration_us = o.duration_us, outcome_tag = o.tag,
    outcome_error_code = o.error_code, outcome_error_text = o.error_text
  from json_to_recordset($3::json) o (at_us bigint, reference bigint, status smallint, rows bigint,
    bytes_up bigint, bytes_down bigint, duration_us bigint, tag text, error_code text, error_text text)
  where a.realm = $1 and a.chain_id = $2 and a.at_us = o.at_us and a.sequence = o.reference
    and a.at_us between $4 and $5`
