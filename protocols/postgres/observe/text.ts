import type { BlobReference } from '../../activity.ts'
import { ByteWriter } from '../../kit/byte-writer.ts'
import type { BlobWriter } from '../../session.ts'
import { Redactor } from './redactor.ts'

/** What of a spilled text stays in the record itself, so that a search finds its beginning. */
const beginningBytes = 1024

/** A text on its way into a blob, credentials taken out, in any pieces. */
export class TextTap {
  readonly #blob: BlobWriter
  readonly #redactor: Redactor
  readonly #beginning = Buffer.alloc(beginningBytes)
  #beginningLength = 0

  constructor(blob: BlobWriter, plainBackslashes: boolean) {
    this.#blob = blob
    this.#redactor = new Redactor({ plainBackslashes })
  }

  readonly #write = (bytes: Buffer, start: number, end: number): void => {
    const room = beginningBytes - this.#beginningLength
    if (room > 0) {
      this.#beginningLength += bytes.copy(
        this.#beginning,
        this.#beginningLength,
        start,
        Math.min(end, start + room),
      )
    }
    this.#blob.write(bytes.subarray(start, end))
  }

  push(bytes: Buffer, start: number, end: number): void {
    this.#redactor.push(bytes, start, end, this.#write)
  }

  finish(): SpilledText {
    this.#redactor.finish(this.#write)
    return {
      text: this.#beginning.subarray(0, this.#beginningLength),
      blob: this.#blob.finish(),
      redacted: this.#redactor.redacted,
    }
  }

  abandon(): void {
    this.#blob.abandon()
  }
}

export interface SpilledText {
  /** The beginning. */
  text: Buffer
  blob: BlobReference
  redacted: boolean
}

const output = new ByteWriter(4096)
const append = (bytes: Buffer, start: number, end: number): void => output.copy(bytes, start, end)

/** A copy of the text without its credentials, or undefined where there was none in it. */
export function redactText(
  bytes: Buffer,
  start: number,
  end: number,
  plainBackslashes: boolean,
): Buffer | undefined {
  const redactor = new Redactor({ plainBackslashes })
  output.reset()
  redactor.push(bytes, start, end, append)
  redactor.finish(append)
  return redactor.redacted ? Buffer.from(output.bytes()) : undefined
}
