/**
 * Keeps the view of recordings up with their entries: what there is, where its parts are, and the text that was shown. Written in
 * the transaction of the slice, and only where the part before is known, so that nothing is counted twice.
 */
import { hash } from 'node:crypto'
import { z } from 'zod'
import type { Entry } from '../api/audit/decode.ts'
import { saltBytes } from '../api/audit/format.ts'
import { recordingEnded } from '../api/audit/metas.ts'
import {
  decodeFrames,
  decodePartMeta,
  emptyDigest,
  rollDigest,
  type PartMeta,
  type RecordingEndedMeta,
} from '../api/audit/recording.ts'
import { bytesOfUuid } from '../api/audit/uuid.ts'
import { recordingStreams } from '../api/recording-shapes.ts'
import type { Sql } from '../store/store.ts'
import { cleanText, cutText } from './clean-text.ts'
import { parseMeta } from './entry-metas.ts'
import { terminalOutputKind } from './index-rows.ts'
import { RecordedText } from './recorded-text.ts'
import { destroyedKeys } from './session-keys.ts'
import type { SegmentPlace } from './stored-payloads.ts'

/** One entry of a recording, checked. */
export interface RecordingStep {
  readonly sequence: number
  readonly sessionId: string
  readonly number: number
  readonly atUs: number
  readonly commitment: Buffer
  /** Without its salt; undefined where it was deleted or is hidden. */
  readonly payload: Buffer | undefined
  readonly part?: PartMeta
  readonly ended?: RecordingEndedMeta
}

/** Undefined where it cannot be understood. */
export function recordingStep(
  entry: Entry,
  payload: Buffer | undefined,
): RecordingStep | undefined {
  const { sessionId, sequence, reference, atUs, commitment } = entry
  if (sessionId === undefined || reference < 1) return undefined
  const step = {
    ...{ sequence, sessionId, number: reference, atUs },
    commitment: commitment ?? hash('sha256', '', 'buffer'),
    payload: payload?.subarray(saltBytes),
  }
  if (entry.type === 'recording-ended') {
    const ended = parseMeta(recordingEnded, entry.meta)
    return ended && { ...step, ended }
  }
  try {
    return { ...step, part: decodePartMeta(entry.meta) }
  } catch {
    return undefined
  }
}

const line = (charactersMax: number) =>
  z.string().transform((value) => cutText(cleanText(value), charactersMax))
const size = z.int().min(0).max(65_535)
const titleShape = z.object({
  kind: z.enum(['terminal', 'stream']),
  activity: z.int().nonnegative(),
  title: line(8_192),
  columns: size.exactOptional(),
  rows: size.exactOptional(),
  term: line(64).exactOptional(),
})

/** A row of `recordings`; bytes as hex, as they go through JSON. */
interface State {
  session_id: string
  number: number
  kind: string
  activity: number
  title: string | null
  columns: number | null
  rows: number | null
  term: string | null
  began_at_us: number
  parts: number
  frames: number
  bytes: number
  lasted_us: number
  digest: string
  ended_at_us: number | null
  lost_bytes: number | null
  sealed: boolean | null
  streams: unknown
  tail: string
  text_characters: number
  text?: RecordedText
}

/** Returns how many entries fit no session of this proxy, or not their recording. */
export async function indexRecordings(
  sql: Sql,
  realm: string,
  segment: SegmentPlace,
  steps: readonly RecordingStep[],
): Promise<number> {
  if (steps.length === 0) return 0
  const ids = [...new Set(steps.map(({ sessionId }) => sessionId))]
  const destroyed = await destroyedKeys(sql, realm, segment.proxyId, ids)
  const sessions = await sql.query<{ session_id: string; person_email: string; resource: string }>(
    `select session_id, person_email, resource from sessions
     where realm = $1 and proxy_id = $2 and session_id = any($3::uuid[])`,
    [realm, segment.proxyId, ids],
  )
  const known = new Set(sessions.map(({ session_id }) => session_id))
  const states = await readStates(sql, realm, steps)
  const touched = new Map<string, State>()
  const parts: object[] = []
  let anomalies = 0
  for (const step of steps) {
    if (destroyed.has(step.sessionId)) continue
    const key = `${step.sessionId} ${step.number}`
    const state = touched.get(key) ?? states.get(key) ?? begin(step)
    if (state === undefined || !known.has(step.sessionId) || !advance(state, step)) {
      anomalies += 1
      continue
    }
    touched.set(key, state)
    if (step.part === undefined) continue
    const { part, hidden, firstUs, lastUs, bytes } = step.part
    parts.push({
      ...{ session_id: step.sessionId, number: step.number, sequence: step.sequence },
      ...{ part, hidden, first_us: firstUs, last_us: lastUs, bytes },
    })
  }
  await writeStates(sql, realm, segment, [...touched.values()], parts, sessions)
  return anomalies
}

async function readStates(
  sql: Sql,
  realm: string,
  steps: readonly RecordingStep[],
): Promise<Map<string, State>> {
  const keys = steps.map(({ sessionId, number }) => ({ session_id: sessionId, number }))
  const rows = await sql.query<State>(
    `select r.session_id, r.number, kind, activity, title, columns, rows, term, began_at_us, parts, frames, bytes,
       lasted_us, encode(digest, 'hex') as digest, ended_at_us, lost_bytes, sealed, streams,
       encode(tail, 'hex') as tail, text_characters
     from recordings r
       join (select distinct * from json_to_recordset($2::json) k (session_id uuid, number bigint)) k
         on k.session_id = r.session_id and k.number = r.number
     where r.realm = $1`,
    [realm, JSON.stringify(keys)],
  )
  return new Map(rows.map((row) => [`${row.session_id} ${row.number}`, row]))
}

/** The first part says what it is. */
function begin(step: RecordingStep): State | undefined {
  if (step.part?.part !== 0 || step.part.hidden || step.payload === undefined) return undefined
  const title = parseMeta(titleShape, step.payload)
  if (title === undefined) return undefined
  return {
    ...{ session_id: step.sessionId, number: step.number, began_at_us: step.atUs },
    ...{ kind: title.kind, activity: title.activity, title: title.title },
    columns: title.columns ?? null,
    rows: title.rows ?? null,
    term: title.term ?? null,
    ...{ parts: 0, frames: 0, bytes: 0, lasted_us: 0 },
    digest: emptyDigest(bytesOfUuid(step.sessionId), step.number).toString('hex'),
    ...{ ended_at_us: null, lost_bytes: null, sealed: null, streams: null },
    ...{ tail: '', text_characters: 0 },
  }
}

/** False where the entry does not follow what is here. */
function advance(state: State, step: RecordingStep): boolean {
  if (state.ended_at_us !== null) return false
  if (step.ended !== undefined) {
    const { parts, frames, bytes, digest, lostBytes } = step.ended
    state.ended_at_us = step.atUs
    state.lost_bytes = lostBytes
    state.sealed =
      parts === state.parts &&
      frames === state.frames &&
      bytes === state.bytes &&
      digest === state.digest
    state.streams =
      step.payload === undefined ? null : (parseMeta(recordingStreams, step.payload) ?? null)
    return true
  }
  const { part } = step
  if (part === undefined || part.part !== state.parts) return false
  state.digest = rollDigest(Buffer.from(state.digest, 'hex'), step.commitment).toString('hex')
  state.parts += 1
  state.frames += part.frames
  state.bytes += part.bytes
  state.lasted_us = Math.max(state.lasted_us, part.lastUs)
  if (part.part > 0 && !part.hidden && step.payload !== undefined) addText(state, step)
  return true
}

function addText(state: State, step: RecordingStep): void {
  state.text ??= new RecordedText(Buffer.from(state.tail, 'hex'), state.text_characters)
  try {
    for (const { kind, atUs, bytes } of decodeFrames(step.payload!)) {
      if (kind !== 'upstream' && kind !== 'upstream-error') continue
      const { sequence } = step
      state.text.add(bytes, { sequence, atUs: step.atUs, recordingAtUs: atUs })
    }
  } catch {
    // Frames of nobody's making are stored and have no text.
  }
}

async function writeStates(
  sql: Sql,
  realm: string,
  { chainId, firstBatch }: SegmentPlace,
  states: readonly State[],
  parts: readonly object[],
  sessions: readonly { session_id: string; person_email: string; resource: string }[],
): Promise<void> {
  if (states.length === 0) return
  const outputs: object[] = []
  const rows = states.map(({ text, ...row }) => {
    if (text === undefined) return row
    const tail = text.finish().toString('hex')
    const session = sessions.find(({ session_id }) => session_id === row.session_id)!
    const { number } = row
    // Two rows of one part need two places in the order of the index.
    const taken = new Map<number, number>()
    for (const { sequence, atUs, recordingAtUs, text: shown } of text.rows) {
      const before = taken.get(sequence) ?? 0
      taken.set(sequence, before + 1)
      outputs.push({
        ...session,
        ...{ at_us: atUs + before, sequence, recording: number, recording_at_us: recordingAtUs },
        text: shown,
      })
    }
    return { ...row, tail, text_characters: text.characters }
  })
  await sql.query(upsertRecordings, [realm, chainId, JSON.stringify(rows)])
  if (parts.length > 0) {
    await sql.query(insertParts, [realm, chainId, firstBatch, JSON.stringify(parts)])
  }
  if (outputs.length > 0) {
    await sql.query(insertOutputs, [realm, chainId, JSON.stringify(outputs), terminalOutputKind])
  }
}

const upsertRecordings = `
  insert into recordings (
    realm, session_id, number, chain_id, kind, activity, title, columns, rows, term, began_at_us, parts, frames, bytes,
    lasted_us, digest, ended_at_us, lost_bytes, sealed, streams, tail, text_characters)
  select $1::text, u.session_id, u.number, $2::bigint, u.kind, u.activity, u.title, u.columns, u.rows, u.term,
    u.began_at_us, u.parts, u.frames, u.bytes, u.lasted_us, decode(u.digest, 'hex'), u.ended_at_us, u.lost_bytes,
    u.sealed, u.streams, decode(u.tail, 'hex'), u.text_characters
  from json_to_recordset($3::json) u (session_id uuid, number bigint, kind text, activity bigint, title text,
    columns integer, rows integer, term text, began_at_us bigint, parts bigint, frames bigint, bytes bigint,
    lasted_us bigint, digest text, ended_at_us bigint, lost_bytes bigint, sealed boolean, streams jsonb, tail text,
    text_characters bigint)
  on conflict (realm, session_id, number) do update
  set parts = excluded.parts, frames = excluded.frames, bytes = excluded.bytes, lasted_us = excluded.lasted_us,
    digest = excluded.digest, ended_at_us = excluded.ended_at_us, lost_bytes = excluded.lost_bytes,
    sealed = excluded.sealed, streams = excluded.streams, tail = excluded.tail,
    text_characters = excluded.text_characters`

const insertParts = `
  insert into recording_parts (
    realm, session_id, number, part, chain_id, first_batch, sequence, hidden, first_us, last_us, bytes)
  select $1::text, u.session_id, u.number, u.part, $2::bigint, $3::bigint, u.sequence, u.hidden, u.first_us, u.last_us,
    u.bytes
  from json_to_recordset($4::json) u (session_id uuid, number bigint, part bigint, sequence bigint, hidden boolean,
    first_us bigint, last_us bigint, bytes bigint)
  on conflict do nothing`

const insertOutputs = `
  insert into audit_activities (
    realm, chain_id, at_us, sequence, session_id, person_email, resource, kind, text, prepared_name, parameters,
    redacted, recording, recording_at_us)
  select $1::text, $2::bigint, u.at_us, u.sequence, u.session_id, u.person_email, u.resource, $4::smallint, u.text, '',
    '[]', false, u.recording, u.recording_at_us
  from json_to_recordset($3::json) u (at_us bigint, sequence bigint, session_id uuid, person_email text, resource text,
    text text, recording bigint, recording_at_us bigint)
  on conflict do nothing`
