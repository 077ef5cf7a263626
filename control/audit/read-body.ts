import { setImmediate } from 'node:timers/promises'
import { AuditCorrupt } from '../api/audit/corrupt.ts'
import { decodeBatch, type Batch } from '../api/audit/decode.ts'
import { batchBytesMax, batchHeaderBytes, linkBytes } from '../api/audit/format.ts'
import { computeLink, genesisLink } from '../api/audit/link.ts'
import { uuidOfBytes } from '../api/audit/uuid.ts'
import { addBatch, type ReceivedChunk } from './received-chunk.ts'

/** Entries of one batch; a turn of a proxy's event loop has some thousands. */
const batchEntriesMax = 500_000
/** Bytes between two pauses, in which control does what is more urgent. */
const bytesAtOnce = 256 * 1024

export interface BatchMark {
  number: number
  firstSequence: number
  previousLink: Buffer
  link: Buffer
  /** Where it starts in the body. */
  offset: number
}

export interface ReceivedBody {
  epoch: string
  marks: BatchMark[]
  /** Sequence of the last entry. */
  lastSequence: number
  /** The batches from `fromBatch` on; undefined if there are none. */
  chunk: ReceivedChunk | undefined
}

/** UUID of the epoch that a body starts with. Throws `audit-corrupt`. */
export function peekEpoch(body: Buffer): string {
  if (body.length < batchHeaderBytes + linkBytes) {
    throw new AuditCorrupt(0, `${body.length} bytes are too few for a batch`)
  }
  return uuidOfBytes(body.subarray(8, 24))
}

/**
 * Reads and verifies concatenated batches of one epoch: forms, links, and that each follows the one before. Pauses
 * between batches, so that a long body delays nothing. Rejects with `audit-corrupt` and the offset.
 */
export async function readBody(body: Buffer, fromBatch: number): Promise<ReceivedBody> {
  if (body.length > batchBytesMax + 1024 * 1024) {
    throw new AuditCorrupt(0, `${body.length} bytes are too many for one request`)
  }
  const received: ReceivedBody = {
    epoch: peekEpoch(body),
    marks: [],
    lastSequence: 0,
    chunk: undefined,
  }
  let pauseAt = bytesAtOnce
  for (let offset = 0; offset < body.length;) {
    const batch = decodeOne(body, offset)
    checkBatch(received, batch, offset)
    received.marks.push({
      number: batch.number,
      firstSequence: batch.firstSequence,
      previousLink: batch.previousLink,
      link: batch.link,
      offset,
    })
    received.lastSequence = batch.firstSequence + batch.entries.length - 1
    if (batch.number >= fromBatch) received.chunk = addBatch(received.chunk, batch)
    offset += batch.bytes.length
    if (offset >= pauseAt) {
      pauseAt = offset + bytesAtOnce
      await setImmediate()
    }
  }
  return received
}

function decodeOne(body: Buffer, offset: number): Batch {
  // The count is looked at first: what fits in a body could still fill the memory as objects.
  if (body.length - offset >= batchHeaderBytes) {
    const count = body.readUInt32BE(offset + 40)
    if (count > batchEntriesMax) throw new AuditCorrupt(offset + 40, `${count} entries in a batch`)
  }
  return decodeBatch(body, offset)
}

function checkBatch(received: ReceivedBody, batch: Batch, offset: number): void {
  const corrupt = (problem: string): never => {
    throw new AuditCorrupt(offset, `batch ${batch.number}: ${problem}`)
  }
  if (batch.epoch !== received.epoch) corrupt(`of epoch ${batch.epoch}, after ${received.epoch}`)
  if (batch.entries.length === 0) corrupt('has no entries')
  if (batch.number < 1 || batch.firstSequence < 1) corrupt('numbers start from 1')
  const last = received.marks.at(-1)
  if (last === undefined) {
    const genesis = genesisLink(batch.epoch)
    if (batch.number === 1 && !(batch.firstSequence === 1 && batch.previousLink.equals(genesis))) {
      corrupt('an epoch does not start from its genesis')
    }
  } else {
    if (batch.number !== last.number + 1) corrupt(`follows batch ${last.number}`)
    if (batch.firstSequence !== received.lastSequence + 1) {
      corrupt(`starts with entry ${batch.firstSequence}, after ${received.lastSequence}`)
    }
    if (!batch.previousLink.equals(last.link)) corrupt('does not link to the batch before it')
  }
  for (const entry of batch.entries) {
    if (entry.withheld) corrupt(`payload of entry ${entry.sequence} is missing`)
    if (entry.type === 'control-action') corrupt('control-action in the chain of a proxy')
  }
  if (!computeLink(batch).equals(batch.link)) corrupt('content is not what its link says')
}
