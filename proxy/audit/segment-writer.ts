/** Writes batches to the files of one epoch: encrypts each and writes it with one call. */
import { join } from 'node:path'
import {
  carriedNumber,
  encodeSegmentHeader,
  frameOverheadBytes,
  SegmentCipher,
  segmentFileName,
  segmentHeaderBytes,
} from './segment-format.ts'
import type { Ledger, SegmentFile } from './ledger.ts'
import { writeWhole, type SpoolFiles } from './spool-files.ts'

export interface SegmentWriterOptions {
  directory: string
  key: Buffer
  boot: number
  epoch: string
  segmentBytes: number
  files: SpoolFiles
  ledger: Ledger
}

export class SegmentWriter {
  readonly #options: SegmentWriterOptions
  #frame = Buffer.allocUnsafeSlow(64 * 1024)
  #cipher: SegmentCipher | undefined
  #segment: SegmentFile | undefined
  #descriptor = -1
  /** Files that hold something fdatasync has not been asked for; the last is the one written to. */
  #unsynced: number[] = []
  /** A name was created and is not durable yet. */
  #rolled = false

  constructor(options: SegmentWriterOptions) {
    this.#options = options
  }

  /** Writes one batch. Throws what the disk says; nothing more may be written then. */
  write(batchNumber: number, batch: Buffer, openSessions: Iterable<string>): void {
    if (this.#segment === undefined || this.#segment.bytes >= this.#options.segmentBytes) {
      this.#roll(batchNumber, openSessions)
    }
    this.#append(batchNumber, batch)
    this.#segment!.lastBatch = batchNumber
  }

  #append(number: number, plaintext: Buffer): void {
    const needed = plaintext.length + frameOverheadBytes
    if (needed > this.#frame.length) this.#frame = Buffer.allocUnsafeSlow(needed * 2)
    const length = this.#cipher!.seal(number, plaintext, this.#frame)
    writeWhole(this.#options.files, this.#descriptor, this.#frame, length)
    this.#options.ledger.grow(this.#segment!, length)
  }

  #roll(firstBatch: number, openSessions: Iterable<string>): void {
    const { directory, boot, epoch, files, ledger, key } = this.#options
    const file = (this.#segment?.file ?? 0) + 1
    const header = { boot, epoch, file, firstBatch }
    const path = join(directory, segmentFileName(header))
    const descriptor = files.create(path)
    const bytes = encodeSegmentHeader(header)
    this.#descriptor = descriptor
    this.#unsynced.push(descriptor)
    this.#cipher = new SegmentCipher(key, bytes)
    this.#segment = { ...header, path, lastBatch: firstBatch - 1, bytes: 0 }
    ledger.add(this.#segment)
    writeWhole(files, descriptor, bytes, segmentHeaderBytes)
    ledger.grow(this.#segment, segmentHeaderBytes)
    this.#append(carriedNumber, Buffer.from(JSON.stringify([...openSessions])))
    this.#rolled = true
  }

  /** What to sync now: descriptors, those of them to be closed after, and whether the directory changed. */
  takeUnsynced(): { all: number[]; done: number[]; rolled: boolean } {
    const all = this.#unsynced
    const rolled = this.#rolled
    this.#unsynced = this.#descriptor < 0 ? [] : [this.#descriptor]
    this.#rolled = false
    return { all, done: all.slice(0, -1), rolled }
  }

  close(): void {
    for (const descriptor of this.#unsynced) this.#options.files.close(descriptor)
    this.#unsynced = []
    this.#descriptor = -1
  }
}
