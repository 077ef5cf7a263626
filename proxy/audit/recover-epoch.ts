/** Reads what one earlier boot left in the spool: what can go on to control, what must be set aside, and why. */
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { decodeActivity } from '../../protocols/activity.ts'
import { decodeBatch, payloadFields, type Batch } from '../../control/api/audit/decode.ts'
import { firstBatchNumber } from '../../control/api/audit/format.ts'
import { genesisLink } from '../../control/api/audit/link.ts'
import type { SegmentFile } from './ledger.ts'
import type { Line, SetAside } from './outbox.ts'
import { scanFrames } from './scan-frames.ts'
import {
  carriedNumber,
  decodeSegmentHeader,
  SegmentCipher,
  segmentHeaderBytes,
} from './segment-format.ts'
import type { SpoolHead } from './spool-types.ts'

export interface RecoveredEpoch {
  line: Line
  /** Last batch of the unbroken chain; undefined if there is none. */
  head: SpoolHead | undefined
  openSessions: Set<string>
  damage: string[]
  /** Batch of each blob (SHA-256, hex) that batches not yet acknowledged name. */
  blobs: Map<string, number>
}

/**
 * `segments`: of one epoch, in order; their `firstBatch`, `lastBatch` and `bytes` are set here.
 * `acknowledged`: last batch that control has, undefined if that is not known.
 */
export async function recoverEpoch(
  segments: readonly SegmentFile[],
  key: Buffer,
  acknowledged: number | undefined,
): Promise<RecoveredEpoch> {
  const { boot, epoch } = segments[0]!
  const reading = new EpochReading(epoch, acknowledged)
  for (const segment of segments) {
    const file = await readFile(segment.path)
    segment.bytes = file.length
    reading.segment(segment, file, key, segment === segments.at(-1))
  }
  const { next, last, head, openSessions, damage, blobs, setAside } = reading
  return { line: { boot, epoch, next, last, setAside }, head, openSessions, damage, blobs }
}

class EpochReading {
  readonly #epoch: string
  /** First batch to ship; -1 until a file says where the chain can begin. */
  next: number
  /** Last batch of the unbroken chain. */
  last: number
  head: SpoolHead | undefined
  openSessions = new Set<string>()
  readonly damage: string[] = []
  readonly blobs = new Map<string, number>()
  readonly setAside: SetAside[] = []
  #broken = false

  constructor(epoch: string, acknowledged: number | undefined) {
    this.#epoch = epoch
    this.next = acknowledged === undefined ? -1 : acknowledged + 1
    this.last = this.next - 1
  }

  segment(segment: SegmentFile, file: Buffer, key: Buffer, isLast: boolean): void {
    const name = basename(segment.path)
    const header = decodeSegmentHeader(file)
    const right =
      header?.epoch === segment.epoch &&
      header.boot === segment.boot &&
      header.file === segment.file
    if (header === undefined || !right) {
      // A file that was only just created is as good as none.
      if (isLast && file.length < segmentHeaderBytes) return
      this.#aside(segment, 0, file.length, false, 'not the header of this file')
      return
    }
    segment.firstBatch = header.firstBatch
    segment.lastBatch = header.firstBatch - 1
    if (this.next < 0) {
      this.next = header.firstBatch
      this.last = this.next - 1
    }
    const cipher = new SegmentCipher(key, file.subarray(0, segmentHeaderBytes))
    for (const scanned of scanFrames(file, cipher)) {
      if (scanned.kind === 'unreadable') {
        const { offset, end, why, cutOff } = scanned
        if (cutOff && isLast) {
          this.damage.push(`${name}, byte ${offset}: last batch is torn (${end - offset} bytes)`)
        } else {
          this.#aside(segment, offset, end, false, why)
        }
        continue
      }
      const { number, plaintext, offset } = scanned
      if (number === carriedNumber) {
        this.openSessions = new Set(JSON.parse(plaintext.toString('utf8')) as string[])
        continue
      }
      segment.lastBatch = Math.max(segment.lastBatch, number)
      const batch = decodeBatch(plaintext, 0)
      this.#sessions(batch)
      const why = this.#place(batch)
      if (why !== undefined) this.#aside(segment, offset, offset + 1, true, why)
    }
  }

  /** Where the batch belongs; a reason if it cannot be part of the chain. */
  #place(batch: Batch): string | undefined {
    const expected = this.last + 1
    if (this.#broken) return `batch ${batch.number} comes after damage`
    if (batch.number > expected) {
      this.#broken = true
      return `batch ${batch.number} stands where batch ${expected} belongs`
    }
    const before = this.head
    const follows =
      before === undefined
        ? batch.number !== firstBatchNumber || batch.previousLink.equals(genesisLink(this.#epoch))
        : before.batch !== batch.number - 1 || batch.previousLink.equals(before.link)
    if (!follows) {
      this.#broken = true
      return `batch ${batch.number} does not follow the one before it`
    }
    const sequence = batch.firstSequence + batch.entries.length - 1
    this.head = { epoch: this.#epoch, batch: batch.number, sequence, link: batch.link }
    if (batch.number === expected) this.last = expected
    if (batch.number >= this.next) this.#blobs(batch)
    return undefined
  }

  #sessions(batch: Batch): void {
    for (const { type, sessionId } of batch.entries) {
      if (sessionId === undefined) continue
      if (type === 'session-opened') this.openSessions.add(sessionId)
      else if (type === 'session-closed') this.openSessions.delete(sessionId)
    }
  }

  #blobs(batch: Batch): void {
    for (const entry of batch.entries) {
      const fields = entry.type === 'activity' ? payloadFields(entry) : undefined
      if (fields === undefined) continue
      const { textBlob, parametersBlob } = decodeActivity(fields)
      for (const blob of [textBlob, parametersBlob]) {
        if (blob !== undefined && !this.blobs.has(blob.sha256)) {
          this.blobs.set(blob.sha256, batch.number)
        }
      }
    }
  }

  /** `readable`: a frame that begins at `offset`; else bytes up to `end`. */
  #aside(segment: SegmentFile, offset: number, end: number, readable: boolean, why: string): void {
    const name = basename(segment.path)
    const before = this.setAside.at(-1)
    // One note and one parcel for a run of batches after the same damage.
    if (readable && before?.readable === true && before.segment === segment) {
      before.end = end
      return
    }
    const what = readable ? why : `${end - offset} bytes cannot be read: ${why}`
    this.damage.push(`${name}, byte ${offset}: ${what}`)
    this.setAside.push({ segment, offset, end, readable, why: `${name}, byte ${offset}: ${what}` })
  }
}
