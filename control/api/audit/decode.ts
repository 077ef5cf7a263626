/** Reads batches (format.ts) back. Every length is checked before it is believed. */
import { outcomeStatuses, type Outcome, type OutcomeStatus } from '../../../protocols/activity.ts'
import { AuditCorrupt } from './corrupt.ts'
import {
  batchBytesMax,
  batchHeaderBytes,
  batchMagic,
  entryFixedBytes,
  entryFlags,
  entryTypes,
  linkBytes,
  outcomeMetaFixedBytes,
  saltBytes,
  type EntryType,
} from './format.ts'
import { commitmentOf } from './link.ts'
import { uuidOfBytes } from './uuid.ts'

export interface Entry {
  readonly sequence: number
  readonly type: EntryType
  /** Undefined for what belongs to no session. */
  readonly sessionId: string | undefined
  /** Unix microseconds of the writer's clock. */
  readonly atUs: number
  readonly reference: number
  readonly meta: Buffer
  /** With its salt; undefined if there is none or it is withheld. */
  readonly payload: Buffer | undefined
  /** SHA-256 of the payload, also of a withheld one; undefined if there is none. */
  readonly commitment: Buffer | undefined
  readonly withheld: boolean
  /** Where the entry starts in its batch's bytes. */
  readonly offset: number
}

export interface Batch {
  /** UUID. */
  readonly epoch: string
  readonly number: number
  readonly firstSequence: number
  /** Unix microseconds of the writer's clock. */
  readonly committedAtUs: number
  readonly previousLink: Buffer
  /** As it stands in the batch; `computeLink` says what it should be. */
  readonly link: Buffer
  readonly entries: readonly Entry[]
  /** The whole batch; a view of what was read. */
  readonly bytes: Buffer
}

const typeOfNumber = new Map<number, EntryType>(
  Object.entries(entryTypes).map(([name, number]) => [number, name as EntryType]),
)
const statusOfNumber = new Map<number, OutcomeStatus>(
  Object.entries(outcomeStatuses).map(([name, number]) => [number, name as OutcomeStatus]),
)
const noSession = Buffer.alloc(16)

/** Reads concatenated batches to the end. Throws `AuditCorrupt` (`audit-corrupt`) with the offset. */
export function decodeBatches(bytes: Buffer): Batch[] {
  const batches: Batch[] = []
  for (let offset = 0; offset < bytes.length;) {
    const batch = decodeBatch(bytes, offset)
    batches.push(batch)
    offset += batch.bytes.length
  }
  return batches
}

/**
 * Reads the batch that starts at `offset`. Checks its form, not its place in a chain and not its link. Throws
 * `AuditCorrupt` with the offset in `bytes`.
 */
export function decodeBatch(bytes: Buffer, offset: number): Batch {
  const left = bytes.length - offset
  if (left < batchHeaderBytes + linkBytes) {
    throw new AuditCorrupt(offset, `${left} bytes are too few for a batch`)
  }
  if (bytes.readUInt32BE(offset) !== batchMagic) throw new AuditCorrupt(offset, 'no batch here')
  const total = bytes.readUInt32BE(offset + 4)
  if (total < batchHeaderBytes + linkBytes || total > batchBytesMax) {
    throw new AuditCorrupt(offset + 4, `a batch cannot have ${total} bytes`)
  }
  if (total > left) {
    throw new AuditCorrupt(offset + 4, `batch of ${total} bytes is cut off after ${left}`)
  }
  const batch = bytes.subarray(offset, offset + total)
  const firstSequence = u64(bytes, offset + 32)
  const count = batch.readUInt32BE(40)
  const end = total - linkBytes
  if (count > (end - batchHeaderBytes) / entryFixedBytes) {
    throw new AuditCorrupt(offset + 40, `${count} entries do not fit in ${total} bytes`)
  }
  const entries: Entry[] = []
  let at = batchHeaderBytes
  for (let index = 0; index < count; index += 1) {
    const entry = decodeEntry(batch, at, end, offset, firstSequence + index)
    entries.push(entry)
    at += entryFixedBytes + entry.meta.length + storedLength(batch, at)
  }
  if (at !== end) throw new AuditCorrupt(offset + at, `${end - at} bytes too many in the batch`)
  return {
    epoch: uuidOfBytes(batch.subarray(8, 24)),
    number: u64(bytes, offset + 24),
    firstSequence,
    committedAtUs: u64(bytes, offset + 44),
    previousLink: batch.subarray(52, 52 + linkBytes),
    link: batch.subarray(end),
    entries,
    bytes: batch,
  }
}

function decodeEntry(
  batch: Buffer,
  at: number,
  end: number,
  batchOffset: number,
  sequence: number,
): Entry {
  if (end - at < entryFixedBytes) throw new AuditCorrupt(batchOffset + at, 'entry is cut off')
  const type = typeOfNumber.get(batch[at]!)
  if (type === undefined) {
    throw new AuditCorrupt(batchOffset + at, `unknown entry type ${batch[at]!}`)
  }
  const flags = batch[at + 1]!
  if ((flags & ~entryFlags.withheld) !== 0) {
    throw new AuditCorrupt(batchOffset + at + 1, `unknown flags ${flags}`)
  }
  const withheld = (flags & entryFlags.withheld) !== 0
  const session = batch.subarray(at + 2, at + 18)
  const metaLength = batch.readUInt32BE(at + 34)
  const length = storedLength(batch, at)
  if (metaLength + length > end - at - entryFixedBytes) {
    throw new AuditCorrupt(batchOffset + at + 34, 'entry is longer than its batch')
  }
  if (withheld ? length !== 32 : length !== 0 && length < saltBytes) {
    throw new AuditCorrupt(batchOffset + at + 38, `a payload cannot have ${length} bytes`)
  }
  const metaAt = at + entryFixedBytes
  const stored = batch.subarray(metaAt + metaLength, metaAt + metaLength + length)
  const payload = withheld || length === 0 ? undefined : stored
  return {
    sequence,
    type,
    sessionId: session.equals(noSession) ? undefined : uuidOfBytes(session),
    atUs: u64(batch, at + 18, batchOffset),
    reference: u64(batch, at + 26, batchOffset),
    meta: batch.subarray(metaAt, metaAt + metaLength),
    payload,
    commitment: withheld ? stored : payload === undefined ? undefined : commitmentOf(payload),
    withheld,
    offset: at,
  }
}

function storedLength(batch: Buffer, at: number): number {
  return batch.readUInt32BE(at + 38)
}

function u64(bytes: Buffer, at: number, base = 0): number {
  const value = bytes.readUInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
  if (!Number.isSafeInteger(value)) throw new AuditCorrupt(base + at, 'integer above 2^53 - 1')
  return value
}

/** Tagged fields of an entry's payload (for `decodeActivity`), without the salt; undefined if withheld or absent. */
export function payloadFields(entry: Entry): Buffer | undefined {
  return entry.payload?.subarray(saltBytes)
}

export type OutcomeMeta = Omit<Outcome, 'errorText'>

/** Reads the meta of an `outcome` entry. Throws `AuditCorrupt` with the offset in the meta. */
export function decodeOutcomeMeta(meta: Buffer): OutcomeMeta {
  if (meta.length < outcomeMetaFixedBytes + 2) throw new AuditCorrupt(0, 'outcome is cut off')
  const status = statusOfNumber.get(meta[0]!)
  if (status === undefined) throw new AuditCorrupt(0, `unknown outcome status ${meta[0]!}`)
  const codeAt = outcomeMetaFixedBytes + 1
  const codeEnd = codeAt + meta[outcomeMetaFixedBytes]!
  const tagAt = codeEnd + 1
  const tagLength = codeEnd < meta.length ? meta[codeEnd]! : -1
  if (tagAt + tagLength !== meta.length) {
    throw new AuditCorrupt(outcomeMetaFixedBytes, 'outcome has the wrong length')
  }
  return {
    status,
    rows: meta.readBigInt64BE(1) === -1n ? -1 : u64(meta, 1),
    bytesUp: u64(meta, 9),
    bytesDown: u64(meta, 17),
    durationUs: u64(meta, 25),
    errorCode: meta.toString('latin1', codeAt, codeEnd),
    tag: meta.toString('latin1', tagAt),
  }
}
