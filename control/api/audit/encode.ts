/**
 * Writes batches (format.ts) on the hot path: one encoder lives as long as its epoch and reuses its buffers.
 */
import { hash, randomFillSync } from 'node:crypto'
import { assert } from '../../../protocols/kit/assert.ts'
import { ByteWriter } from '../../../protocols/kit/byte-writer.ts'
import { outcomeStatuses, type Outcome } from '../../../protocols/activity.ts'
import {
  batchHeaderBytes,
  batchMagic,
  entryFixedBytes,
  entryTypes,
  linkBytes,
  saltBytes,
  type EntryType,
} from './format.ts'

const noSession = Buffer.alloc(16)
const saltPoolBytes = 64 * 1024

/**
 * One batch at a time: `start`, then per entry `beginEntry`, meta, `endMeta`, (`beginPayload`, payload,)
 * `endEntry`, then `finish`.
 */
export class BatchEncoder {
  readonly #epoch: Buffer
  readonly #writer = new ByteWriter(64 * 1024)
  /** What the link covers; grows beside the batch, so that `finish` hashes once. */
  readonly #covered = new ByteWriter(32 * 1024)
  readonly #salts = Buffer.allocUnsafeSlow(saltPoolBytes)
  #saltAt = saltPoolBytes
  #number = 0
  #firstSequence = 0
  #count = 0
  #entryAt = -1
  #metaEnd = -1
  #payloadAt = -1
  #commitment = ''

  /** `epoch`: 16 bytes. */
  constructor(epoch: Buffer) {
    assert(epoch.length === 16, 'an epoch has 16 bytes')
    this.#epoch = epoch
  }

  /** Entries in the batch so far. */
  get count(): number {
    return this.#count
  }

  /** Bytes of the batch so far. */
  get length(): number {
    return this.#writer.length
  }

  /** `previousLink`: 32 bytes, copied. */
  start(batchNumber: number, firstSequence: number, previousLink: Buffer): void {
    assert(previousLink.length === linkBytes, 'a link has 32 bytes')
    const writer = this.#writer
    writer.reset()
    this.#covered.reset()
    this.#number = batchNumber
    this.#firstSequence = firstSequence
    this.#count = 0
    this.#entryAt = -1
    writer.u32(batchMagic)
    writer.u32(0)
    writer.copy(this.#epoch)
    writer.u64(batchNumber)
    writer.u64(firstSequence)
    writer.u32(0)
    writer.u64(0)
    writer.copy(previousLink)
    // The header's count and time come at the end; its place is kept.
    this.#covered.reserve(batchHeaderBytes)
  }

  /** Returns the writer for the entry's meta. `session`: 16 bytes; `atUs`: Unix microseconds. */
  beginEntry(
    type: EntryType,
    session: Buffer | undefined,
    atUs: number,
    reference: number,
  ): ByteWriter {
    const writer = this.#writer
    this.#entryAt = writer.length
    this.#metaEnd = -1
    this.#payloadAt = -1
    writer.u8(entryTypes[type])
    writer.u8(0)
    writer.copy(session ?? noSession)
    writer.u64(atUs)
    writer.u64(reference)
    writer.u32(0)
    writer.u32(0)
    return writer
  }

  endMeta(): void {
    this.#metaEnd = this.#writer.length
  }

  /** Adds the salt; what is written from here on is the payload. */
  beginPayload(): void {
    if (this.#saltAt === saltPoolBytes) {
      randomFillSync(this.#salts)
      this.#saltAt = 0
    }
    this.#payloadAt = this.#writer.length
    this.#writer.copy(this.#salts, this.#saltAt, this.#saltAt + saltBytes)
    this.#saltAt += saltBytes
  }

  /** Returns the entry's sequence. */
  endEntry(): number {
    const writer = this.#writer
    const covered = this.#covered
    const at = this.#entryAt
    const metaEnd = this.#metaEnd
    assert(at >= 0 && metaEnd >= 0, 'an entry was begun and its meta ended')
    writer.putU32(at + 34, metaEnd - at - entryFixedBytes)
    const bytes = writer.bytes()
    const coveredAt = covered.length
    covered.copy(bytes, at, metaEnd)
    if (this.#payloadAt >= 0) {
      writer.putU32(at + 38, writer.length - this.#payloadAt)
      covered.putU32(coveredAt + 38, linkBytes)
      // As a string it costs half of what a Buffer does: no memory outside of the heap to be made and freed.
      this.#commitment = hash('sha256', bytes.subarray(this.#payloadAt), 'binary')
      covered.binary(this.#commitment)
    }
    this.#entryAt = -1
    this.#count += 1
    return this.#firstSequence + this.#count - 1
  }

  /** Of the last entry with a payload; one character a byte. */
  get commitment(): string {
    return this.#commitment
  }

  /** Takes back an entry that was begun: its source failed. */
  abandonEntry(): void {
    if (this.#entryAt >= 0) this.#writer.truncate(this.#entryAt)
    this.#entryAt = -1
  }

  /** The batch, a view that is valid until the next `start`, and its link. `committedAtUs`: Unix microseconds. */
  finish(committedAtUs: number): { bytes: Buffer; link: Buffer } {
    assert(this.#entryAt < 0, 'the last entry was ended')
    const writer = this.#writer
    writer.putU32(40, this.#count)
    writer.putU64(44, committedAtUs)
    const covered = this.#covered.bytes()
    writer.bytes().copy(covered, 0, 0, batchHeaderBytes)
    const link = Buffer.from(hash('sha256', covered, 'binary'), 'latin1')
    writer.copy(link)
    writer.putU32(4, writer.length)
    return { bytes: writer.bytes(), link }
  }

  get number(): number {
    return this.#number
  }
}

/** Writes the meta of an `outcome` entry. Code and tag are ASCII; what is past 255 bytes is dropped. */
export function encodeOutcomeMeta(writer: ByteWriter, outcome: Outcome): void {
  writer.u8(outcomeStatuses[outcome.status])
  if (outcome.rows < 0) {
    writer.u32(0xffff_ffff)
    writer.u32(0xffff_ffff)
  } else {
    writer.u64(outcome.rows)
  }
  writer.u64(outcome.bytesUp)
  writer.u64(outcome.bytesDown)
  writer.u64(outcome.durationUs)
  shortAscii(writer, outcome.errorCode)
  shortAscii(writer, outcome.tag)
}

function shortAscii(writer: ByteWriter, text: string): void {
  const length = Math.min(text.length, 255)
  writer.u8(length)
  for (let index = 0; index < length; index += 1) writer.u8(text.charCodeAt(index))
}
