/**
 * The latest batches in plaintext, one after the other as they are shipped, so that shipping need not read and
 * decrypt what was just written. Bounded: what does not fit is still in the files.
 */

export interface Stretch {
  /** A view; what it shows never changes. */
  bytes: Buffer
  firstBatch: number
  lastBatch: number
}

interface Chunk {
  buffer: Buffer
  length: number
  firstBatch: number
  lastBatch: number
}

const chunkBytes = 1024 * 1024

export class RecentBatches {
  #chunks: Chunk[] = []
  readonly #chunksMax: number
  #spare: Buffer | undefined

  /** `bytesMax` is a bound but for single batches larger than 1 MiB. */
  constructor(bytesMax = 8 * chunkBytes) {
    this.#chunksMax = Math.max(1, Math.floor(bytesMax / chunkBytes))
  }

  /** First batch that is held; Infinity if there is none. */
  get firstBatch(): number {
    return this.#chunks[0]?.firstBatch ?? Infinity
  }

  /** Bytes held from about `number` on. */
  bytesFrom(number: number): number {
    let bytes = 0
    for (const chunk of this.#chunks) if (chunk.lastBatch >= number) bytes += chunk.length
    return bytes
  }

  /** Copies the batch. */
  push(number: number, batch: Buffer): void {
    let chunk = this.#chunks.at(-1)
    if (chunk === undefined || chunk.length + batch.length > chunk.buffer.length) {
      chunk = this.#begin(number, batch.length)
    }
    batch.copy(chunk.buffer, chunk.length)
    chunk.length += batch.length
    chunk.lastBatch = number
  }

  #begin(number: number, bytes: number): Chunk {
    // A chunk that falls out unshipped may be in a request under way: its memory is not used again.
    if (this.#chunks.length >= this.#chunksMax) this.#chunks.shift()
    const fits = bytes <= chunkBytes
    const buffer =
      fits && this.#spare !== undefined
        ? this.#spare
        : Buffer.allocUnsafeSlow(Math.max(chunkBytes, bytes))
    if (fits) this.#spare = undefined
    const chunk = { buffer, length: 0, firstBatch: number, lastBatch: number - 1 }
    this.#chunks.push(chunk)
    return chunk
  }

  /** Batches from `number` on, at least one and about `bytesMax`; undefined if `number` is not held. */
  from(number: number, bytesMax: number): Stretch | undefined {
    const chunk = this.#chunks.find((one) => one.firstBatch <= number && number <= one.lastBatch)
    if (chunk === undefined) return undefined
    let start = 0
    for (let batch = chunk.firstBatch; batch < number; batch += 1) {
      start += chunk.buffer.readUInt32BE(start + 4)
    }
    let end = chunk.length
    let lastBatch = chunk.lastBatch
    if (end - start > bytesMax) {
      end = start
      lastBatch = number - 1
      do {
        end += chunk.buffer.readUInt32BE(end + 4)
        lastBatch += 1
      } while (lastBatch < chunk.lastBatch && end - start < bytesMax)
    }
    return { bytes: chunk.buffer.subarray(start, end), firstBatch: number, lastBatch }
  }

  /** Forgets batches up to `number`: control has them, and no request holds them any more. */
  release(number: number): void {
    while (this.#chunks.length > 1 && this.#chunks[0]!.lastBatch <= number) {
      const { buffer } = this.#chunks.shift()!
      if (buffer.length === chunkBytes) this.#spare = buffer
    }
  }
}
