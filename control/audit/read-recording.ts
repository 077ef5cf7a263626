/** Pages of a recording, from a part on: bounded by bytes, and waited for while it goes on. */
import { z } from 'zod'
import { saltBytes } from '../api/audit/format.ts'
import type { recordingPage } from '../api/recording-shapes.ts'
import type { AuditContext } from './dependencies.ts'
import { lookUntil, type Patience } from './look-until.ts'
import { getRecording, type StoredRecording } from './recordings.ts'
import { readSessionPayloads } from './stored-payloads.ts'

const count = z.int().nonnegative()
/** Where a reading is. */
export const readingPlace = z.strictObject({
  /** Number, in control's own chain, of the reading that this is. */
  reading: count,
  /** The part that comes next. */
  part: count,
  hidden: z.boolean(),
})
export type ReadingPlace = z.output<typeof readingPlace>

type Parts = z.output<typeof recordingPage>['parts']
export interface ReadPage {
  readonly stored: StoredRecording
  readonly parts: Parts
  readonly place: ReadingPlace
  readonly ended: boolean
}

interface PartRow {
  part: number
  first_batch: number
  sequence: number
  hidden: boolean
  first_us: number
  last_us: number
  bytes: number
}

const partsMax = 1_000
/** What a part has besides the bytes of its frames, about. */
const partOverheadBytes = 256

type Scope = Pick<AuditContext, 'store' | 'realm' | 'envelope' | 'clock'>

/** The part in which a moment is, or the one before it. */
export async function partAt(
  { store, realm }: Pick<Scope, 'store' | 'realm'>,
  sessionId: string,
  number: number,
  atUs: number,
): Promise<number> {
  if (atUs === 0) return 0
  const [row] = await store.query<{ part: number | null }>(
    `select max(part) as part from recording_parts
     where realm = $1 and session_id = $2 and number = $3 and first_us <= $4`,
    [realm, sessionId, number, atUs],
  )
  return row?.part ?? 0
}

/**
 * The parts from `place` on. Looks again until there is one, for up to `waitMs` or until `signal` aborts. Rejects with
 * `not-found`. The caller has checked rights, and that this reading is on record.
 */
export function readRecording(
  scope: Scope,
  sessionId: string,
  number: number,
  place: ReadingPlace,
  options: Patience & { readonly bytesMax: number },
): Promise<ReadPage> {
  return lookUntil(
    scope.clock,
    options,
    () => look(scope, sessionId, number, place, options.bytesMax),
    ({ parts, ended }) => parts.length > 0 || ended,
  )
}

async function look(
  scope: Scope,
  sessionId: string,
  number: number,
  place: ReadingPlace,
  bytesMax: number,
): Promise<ReadPage> {
  // First whether it is over: what is there after that is all of it.
  const stored = await getRecording(scope, sessionId, number)
  // Part 0 is its title, which the recording itself shows.
  const rows = await scope.store.query<PartRow>(
    `select part, first_batch, sequence, hidden, first_us, last_us, bytes from recording_parts
     where realm = $1 and session_id = $2 and number = $3 and part >= $4 and part > 0
     order by part limit ${partsMax + 1}`,
    [scope.realm, sessionId, number, place.part],
  )
  const full = untilFull(rows, bytesMax)
  const { parts, count } = await readParts(scope, stored, sessionId, full, place.hidden, bytesMax)
  const last = full[count - 1]
  return {
    stored,
    parts,
    place: { ...place, part: last === undefined ? place.part : last.part + 1 },
    ended: stored.over && count === rows.length,
  }
}

function untilFull(rows: readonly PartRow[], bytesMax: number): readonly PartRow[] {
  let bytes = 0
  const end = rows.findIndex((row, index) => {
    bytes += row.bytes + partOverheadBytes
    return index > 0 && (bytes > bytesMax || index === partsMax)
  })
  return end < 0 ? rows : rows.slice(0, end)
}

/** How many bytes a part has is its proxy's word: what is read is counted anew, and `count` says of how many rows that was. */
async function readParts(
  scope: Scope,
  { proxyId, chainId, epoch }: StoredRecording,
  session: string,
  rows: readonly PartRow[],
  hidden: boolean,
  bytesMax: number,
): Promise<{ parts: Parts; count: number }> {
  // Parts are in the order of their segments: of each kind, one is held at a time.
  const groups = new Map<boolean, { firstBatch: number; payloads: Map<number, Buffer> }>()
  const parts: Parts = []
  let bytes = 0
  for (const [index, row] of rows.entries()) {
    if (index > 0 && bytes > bytesMax) return { parts, count: index }
    const head = {
      ...{ part: row.part, hidden: row.hidden, firstUs: row.first_us, lastUs: row.last_us },
    }
    if (row.hidden && !hidden) {
      parts.push({ ...head, frames: null })
      continue
    }
    let group = groups.get(row.hidden)
    if (group?.firstBatch !== row.first_batch) {
      const firstBatch = row.first_batch
      const place = { proxyId, chainId, epoch, firstBatch }
      const payloads = await readSessionPayloads(scope, place, session, row.hidden)
      group = { firstBatch, payloads }
      groups.set(row.hidden, group)
    }
    const payload = group.payloads.get(row.sequence)
    // Deleted since its place was read.
    if (payload === undefined) continue
    bytes += payload.length
    parts.push({ ...head, frames: payload.subarray(saltBytes).toString('base64') })
  }
  return { parts, count: rows.length }
}
