import { createHash, type Hash } from 'node:crypto'
import type { RecordingStreams } from '../../control/api/audit/recording.ts'
import type { RecordedFrom, RecordingKind } from '../../protocols/session.ts'

interface Total {
  bytes: number
  keptBytes: number
  hash: Hash | undefined
}

const nothing = Buffer.alloc(0)

/**
 * Counts what passes in each direction. Of a `stream` the beginning is kept and all of it is hashed; a terminal is kept whole, and
 * what was hidden is never hashed: a digest of a password is a way to guess it.
 */
export class StreamTotals {
  readonly #kind: RecordingKind
  readonly #bytesMax: number
  readonly #totals = new Map<RecordedFrom, Total>()

  constructor(kind: RecordingKind, bytesMax: number) {
    this.#kind = kind
    this.#bytesMax = bytesMax
  }

  /** What is kept of these bytes; `left` the first time that something is left out. */
  count(from: RecordedFrom, bytes: Buffer): { kept: Buffer; left: boolean } {
    let total = this.#totals.get(from)
    if (total === undefined) {
      const hashed = this.#kind === 'stream' && from !== 'client-hidden'
      total = { bytes: 0, keptBytes: 0, hash: hashed ? createHash('sha256') : undefined }
      this.#totals.set(from, total)
    }
    const leftBefore = total.keptBytes < total.bytes
    total.bytes += bytes.length
    total.hash?.update(bytes)
    const room = this.#kind === 'terminal' ? bytes.length : this.#bytesMax - total.keptBytes
    if (room <= 0) return { kept: nothing, left: !leftBefore && bytes.length > 0 }
    const kept = bytes.length <= room ? bytes : bytes.subarray(0, room)
    total.keptBytes += kept.length
    return { kept, left: kept.length < bytes.length }
  }

  /** To be called once. */
  finish(): RecordingStreams {
    const streams = [...this.#totals].map(([from, { bytes, keptBytes, hash }]) => ({
      from,
      bytes,
      keptBytes,
      ...(hash === undefined ? {} : { sha256: hash.digest('hex') }),
    }))
    return { streams }
  }
}
