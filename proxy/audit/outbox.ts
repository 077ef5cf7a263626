/**
 * What is to be shipped, in order: epochs oldest first, in each its batches, before them the blobs that they name,
 * after them what could not be read. One parcel at a time; what was acknowledged is removed from the disk.
 */
import { readFile } from 'node:fs/promises'
import { firstBatchNumber } from '../../control/api/audit/format.ts'
import type { BlobFile, Ledger, SegmentFile } from './ledger.ts'
import { writePosition, type Position } from './position.ts'
import type { RecentBatches, Stretch } from './recent-batches.ts'
import { blobPieces } from './read-blob.ts'
import { scanFrames } from './scan-frames.ts'
import { SegmentCipher, segmentHeaderBytes } from './segment-format.ts'

/** One epoch on its way to control. */
export interface Line {
  boot: number
  epoch: string
  /** Batch to be shipped next. */
  next: number
  /** Last batch that can be shipped as part of the chain. */
  last: number
  setAside: SetAside[]
}

/** Part of a file that cannot be shipped as part of the chain. */
export interface SetAside {
  segment: SegmentFile
  offset: number
  end: number
  /** Whole batches that follow damage; else bytes that do not verify. */
  readable: boolean
  why: string
}

export type Parcel =
  | { kind: 'blob'; line: Line; blob: BlobFile }
  | ({ kind: 'batches'; line: Line } & Stretch)
  | { kind: 'aside'; line: Line; aside: SetAside; bytes: Buffer; why: string }

export interface OutboxOptions {
  directory: string
  key: Buffer
  ledger: Ledger
  recent: RecentBatches
  /** Earlier epochs, oldest first; the outbox adds the present one. */
  lines: readonly Line[]
  boot: number
  epoch: string
  head: Position['head'] | undefined
}

export class Outbox {
  readonly #options: OutboxOptions
  readonly #lines: Line[]
  readonly #live: Line
  /** The file that was read last, decrypted from `next` on when it is asked for. */
  #file: { path: string; bytes: Buffer } | undefined
  #listener: (() => void) | undefined

  constructor(options: OutboxOptions) {
    const { boot, epoch } = options
    this.#options = options
    this.#live = {
      boot,
      epoch,
      next: firstBatchNumber,
      last: firstBatchNumber - 1,
      setAside: [],
    }
    this.#lines = [...options.lines, this.#live]
  }

  /** Called by the spool after each commit. */
  committed(batch: number): void {
    this.#live.last = batch
    this.#listener?.()
  }

  /** Called after each commit: must be cheap. One listener. */
  onCommitted(listener: () => void): void {
    this.#listener = listener
  }

  /** Batches and parcels that wait, of all epochs. */
  get behind(): number {
    let count = 0
    for (const { next, last, setAside } of this.#lines) count += last - next + 1 + setAside.length
    return count
  }

  /** Bytes of batches that wait and are still in memory; a hint for when to send. */
  get recentBytes(): number {
    return this.#options.recent.bytesFrom(this.#live.next)
  }

  /** The next parcel, of about `bytesMax`; the same again until `done` is called. Undefined when all is shipped. */
  async next(bytesMax: number): Promise<Parcel | undefined> {
    for (;;) {
      const line = this.#lines[0]!
      if (line.next <= line.last) {
        const stretch = await this.#stretch(line, bytesMax)
        for (const blob of this.#options.ledger.blobs) {
          if (blob.epoch === line.epoch && blob.batch <= stretch.lastBatch) {
            return { kind: 'blob', line, blob }
          }
        }
        return { kind: 'batches', line, ...stretch }
      }
      const aside = line.setAside[0]
      if (aside !== undefined) {
        const { bytes, why } = await this.#readAside(aside)
        return { kind: 'aside', line, aside, bytes, why }
      }
      if (line === this.#live) return undefined
      await this.#finish(line)
    }
  }

  /** The text of a blob, in pieces. */
  pieces(blob: BlobFile): AsyncGenerator<Buffer> {
    return blobPieces(blob.path, this.#options.key)
  }

  /** Control has the parcel; for batches: all of them up to its last. */
  async done(parcel: Parcel): Promise<void> {
    const { line } = parcel
    if (parcel.kind === 'blob') {
      await this.#options.ledger.removeBlob(parcel.blob)
    } else if (parcel.kind === 'aside') {
      line.setAside.shift()
    } else {
      line.next = Math.max(line.next, parcel.lastBatch + 1)
      if (line === this.#live) this.#options.recent.release(parcel.lastBatch)
      await this.#removeShipped(line)
    }
  }

  /** Control wants batches again that it acknowledged once. False if they are not on the disk any more. */
  rewind(line: Line, batch: number): boolean {
    const first = Math.min(
      ...this.#segmentsOf(line)
        .filter((segment) => segment.lastBatch >= segment.firstBatch)
        .map(({ firstBatch }) => firstBatch),
    )
    const from = Math.max(batch, first)
    if (from >= line.next) return false
    line.next = from
    return true
  }

  /** Everything of the line that was to be shipped as part of the chain is set aside: control will not have it. */
  setAsideAll(line: Line, why: string): void {
    for (const segment of this.#segmentsOf(line)) {
      if (segment.lastBatch < line.next || segment.firstBatch > line.last) continue
      const whole = { segment, offset: 0, end: segment.bytes, readable: true, why }
      line.setAside.push(whole)
    }
    line.next = line.last + 1
  }

  /** Writes down what was acknowledged, so that the next start does not ship it again. */
  async remember(): Promise<void> {
    const { directory, key, head, boot } = this.#options
    const acknowledged: Record<string, number> = {}
    for (const line of this.#lines) acknowledged[line.epoch] = line.next - 1
    await writePosition(directory, key, {
      boot,
      acknowledged,
      ...(head === undefined ? {} : { head }),
    })
  }

  #segmentsOf(line: Line): SegmentFile[] {
    return this.#options.ledger.segments.filter(({ epoch }) => epoch === line.epoch)
  }

  async #removeShipped(line: Line): Promise<void> {
    // The last file of an epoch stays until the epoch is over: it holds the head.
    const shipped = this.#segmentsOf(line)
      .slice(0, -1)
      .filter(
        (segment) =>
          segment.lastBatch < line.next && line.setAside.every((one) => one.segment !== segment),
      )
    if (shipped.length === 0) return
    await this.remember()
    for (const segment of shipped) await this.#options.ledger.removeSegment(segment)
  }

  /** An earlier epoch is wholly shipped. */
  async #finish(line: Line): Promise<void> {
    await this.remember()
    for (const segment of this.#segmentsOf(line)) {
      await this.#options.ledger.removeSegment(segment)
    }
    this.#lines.shift()
    this.#file = undefined
  }

  async #stretch(line: Line, bytesMax: number): Promise<Stretch> {
    if (line === this.#live) {
      const recent = this.#options.recent.from(line.next, bytesMax)
      if (recent !== undefined) {
        this.#file = undefined
        return recent
      }
    }
    const segment = this.#segmentsOf(line).find(
      ({ firstBatch, lastBatch }) => firstBatch <= line.next && line.next <= lastBatch,
    )
    if (segment === undefined) throw new Error(`batch ${line.next} is in no file of the spool`)
    const lastInFile = Math.min(segment.lastBatch, line.last)
    const { bytes: file, cipher } = await this.#read(segment)
    const batches: Buffer[] = []
    let length = 0
    let expected = line.next
    for (const scanned of scanFrames(file, cipher, line.next)) {
      if (scanned.kind === 'unreadable' || scanned.number !== expected) continue
      batches.push(scanned.plaintext)
      length += scanned.plaintext.length
      expected += 1
      if (length >= bytesMax || expected > lastInFile) break
    }
    if (batches.length === 0) {
      throw new Error(`batch ${line.next} cannot be read from ${segment.path} any more`)
    }
    return { bytes: Buffer.concat(batches), firstBatch: line.next, lastBatch: expected - 1 }
  }

  async #read(segment: SegmentFile): Promise<{ bytes: Buffer; cipher: SegmentCipher }> {
    let file = this.#file
    // The file of the present epoch may have grown since.
    if (file?.path !== segment.path || file.bytes.length < segment.bytes) {
      file = { path: segment.path, bytes: await readFile(segment.path) }
      this.#file = file
    }
    const header = file.bytes.subarray(0, segmentHeaderBytes)
    return { bytes: file.bytes, cipher: new SegmentCipher(this.#options.key, header) }
  }

  async #readAside(aside: SetAside): Promise<{ bytes: Buffer; why: string }> {
    const { segment, offset, end, readable, why } = aside
    if (!readable) {
      const bytes = await readFile(segment.path)
      return { bytes: bytes.subarray(offset, end), why }
    }
    const { bytes: file, cipher } = await this.#read(segment)
    const batches: Buffer[] = []
    for (const scanned of scanFrames(file, cipher, firstBatchNumber)) {
      if (scanned.kind !== 'frame' || scanned.number < firstBatchNumber) continue
      if (scanned.offset >= offset && scanned.offset < end) batches.push(scanned.plaintext)
    }
    return { bytes: Buffer.concat(batches), why }
  }
}
