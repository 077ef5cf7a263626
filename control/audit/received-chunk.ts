/** What a proxy sent, taken apart: the skeleton, the payloads by session, and the entries that change sessions. */
import { ByteWriter } from '../../protocols/kit/byte-writer.ts'
import type { Batch, Entry } from '../api/audit/decode.ts'
import { isHiddenPart } from '../api/audit/recording.ts'
import { withholdPayloads } from '../api/audit/withhold.ts'
import { noSession } from './session-keys.ts'

/** An entry that changes the view of sessions. */
export type SessionEntry = Pick<Entry, 'type' | 'sessionId' | 'sequence' | 'atUs' | 'meta'>

export interface ReceivedChunk {
  epoch: string
  firstBatch: number
  lastBatch: number
  firstSequence: number
  lastSequence: number
  lastLink: Buffer
  /** Verbatim, payloads and all. */
  verbatimBytes: number
  skeleton: Buffer[]
  /** By session: (sequence u64 | length u32 | payload with its salt) repeated. */
  payloads: Map<string, ByteWriter>
  /** The same of what was typed unseen: under another key. */
  hiddenPayloads: Map<string, ByteWriter>
  sessionEntries: SessionEntry[]
  /** How many activities, by session. */
  activities: Map<string, number>
}

const sessionTypes = new Set(['session-opened', 'session-cut', 'session-closed', 'proxy-started'])

/** Adds a batch that was verified; the first one with `chunk` undefined. Returns the chunk. */
export function addBatch(chunk: ReceivedChunk | undefined, batch: Batch): ReceivedChunk {
  chunk ??= {
    epoch: batch.epoch,
    firstBatch: batch.number,
    lastBatch: batch.number,
    firstSequence: batch.firstSequence,
    lastSequence: batch.firstSequence,
    lastLink: batch.link,
    verbatimBytes: 0,
    skeleton: [],
    payloads: new Map(),
    hiddenPayloads: new Map(),
    sessionEntries: [],
    activities: new Map(),
  }
  chunk.lastBatch = batch.number
  chunk.lastSequence = batch.firstSequence + batch.entries.length - 1
  chunk.lastLink = batch.link
  chunk.verbatimBytes += batch.bytes.length
  chunk.skeleton.push(withholdPayloads(batch, () => false))
  for (const entry of batch.entries) addEntry(chunk, entry)
  return chunk
}

function addEntry(chunk: ReceivedChunk, entry: Entry): void {
  if (entry.type === 'activity' && entry.sessionId !== undefined) {
    const count = chunk.activities.get(entry.sessionId) ?? 0
    chunk.activities.set(entry.sessionId, count + 1)
  } else if (sessionTypes.has(entry.type)) {
    const { type, sessionId, sequence, atUs, meta } = entry
    chunk.sessionEntries.push({ type, sessionId, sequence, atUs, meta })
  }
  if (entry.payload === undefined) return
  const session = entry.sessionId ?? noSession
  const isHidden = entry.type === 'recording' && isHiddenPart(entry.meta)
  const payloads = isHidden ? chunk.hiddenPayloads : chunk.payloads
  let writer = payloads.get(session)
  if (writer === undefined) {
    writer = new ByteWriter(256)
    payloads.set(session, writer)
  }
  writer.u64(entry.sequence)
  writer.u32(entry.payload.length)
  writer.copy(entry.payload)
}

/** The payloads of one session's group, by sequence; views of `group`. */
export function readPayloadGroup(group: Buffer, into: Map<number, Buffer>): void {
  for (let at = 0; at + 12 <= group.length;) {
    const sequence = group.readUInt32BE(at) * 0x1_0000_0000 + group.readUInt32BE(at + 4)
    const end = at + 12 + group.readUInt32BE(at + 8)
    into.set(sequence, group.subarray(at + 12, end))
    at = end
  }
}
