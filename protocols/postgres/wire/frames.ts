import { SallyportError } from '../../kit/errors.ts'
import type { LengthTable } from '../wire.ts'

/** What is done with the messages that a `FrameScanner` finds. Offsets are those of `buffer`. */
export interface FrameVisitor {
  /**
   * A whole message: type byte at `start`, length word after it, end at `end` (exclusive).
   * False means "not yet": the scanner stops before this message and `resume` offers it again.
   */
  whole(buffer: Buffer, start: number, end: number): boolean
  /** The head of a message too long to be held. `bodyBytes` excludes type and length. False as above. */
  begin(type: number, bodyBytes: number): boolean
  /** The next piece of that message's body. */
  part(buffer: Buffer, start: number, end: number, last: boolean): void
}

const headBytes = 5

/**
 * Cuts a stream of bytes into messages in one pass over the heads, and passes the bytes on a chunk at a time.
 * A message that a chunk leaves unfinished is held back until it is whole, so that what was passed on
 * always ends where a message ends; longer ones than `heldBytesMax`, and the types named in
 * `streamedTypes`, are passed on as they come. Holds at most `heldBytesMax` plus one chunk.
 *
 * A length below 4, above the table's, or a type the table does not know is a `protocol-violation`, thrown
 * after everything before it was passed on.
 */
export class FrameScanner {
  readonly #lengths: LengthTable
  readonly #heldBytesMax: number
  readonly #streamedTypes: Uint8Array
  readonly #visitor: FrameVisitor
  readonly #emit: (piece: Buffer) => void
  readonly #who: string
  /** An unfinished message: its head, then (once its length is known) its own buffer. */
  readonly #head = Buffer.alloc(headBytes)
  #held: Buffer
  #heldBytes = 0
  /** Bytes still to come of a message that is passed on as it comes. */
  #streaming = 0
  /** Where a visitor said "not yet". */
  #waiting: Buffer | undefined
  #waitingHeld = false

  constructor(options: {
    lengths: LengthTable
    heldBytesMax: number
    streamedTypes: readonly number[]
    visitor: FrameVisitor
    /** Passes on what has been visited. Called in order; together the pieces are the stream. */
    emit: (piece: Buffer) => void
    /** Who sends these bytes, for the operator. */
    who: string
  }) {
    this.#lengths = options.lengths
    this.#heldBytesMax = options.heldBytesMax
    this.#streamedTypes = new Uint8Array(256)
    for (const type of options.streamedTypes) this.#streamedTypes[type] = 1
    this.#visitor = options.visitor
    this.#emit = options.emit
    this.#who = options.who
    this.#held = this.#head
  }

  /** Whether what was passed on so far ends where a message ends. */
  get atBoundary(): boolean {
    return this.#streaming === 0
  }

  /** Whether a visitor said "not yet". No `push` until `resume` has returned true. */
  get stalled(): boolean {
    return this.#waiting !== undefined || this.#waitingHeld
  }

  push(chunk: Buffer): void {
    let at = 0
    if (this.#heldBytes > 0) {
      at = this.#fill(chunk)
      if (this.#waitingHeld) {
        if (at < chunk.length) this.#waiting = chunk.subarray(at)
        return
      }
    }
    if (at < chunk.length) this.#scan(chunk, at)
  }

  /** Offers the message again that was "not yet". True once nothing waits any more. */
  resume(): boolean {
    if (this.#waitingHeld) {
      const done = this.#heldHead(this.#held)
      if (!done) return false
      this.#waitingHeld = false
    }
    const rest = this.#waiting
    this.#waiting = undefined
    if (rest !== undefined) this.push(rest)
    return !this.stalled
  }

  #scan(chunk: Buffer, from: number): void {
    const end = chunk.length
    const visitor = this.#visitor
    let at = from
    try {
      if (this.#streaming > 0) {
        const taken = Math.min(this.#streaming, end - at)
        this.#streaming -= taken
        visitor.part(chunk, at, at + taken, this.#streaming === 0)
        at += taken
      }
      while (at + headBytes <= end) {
        const type = chunk[at]!
        const length = this.#checkedLength(type, chunk, at)
        const next = at + 1 + length
        if (next <= end) {
          if (!visitor.whole(chunk, at, next)) {
            this.#waiting = chunk.subarray(at)
            break
          }
          at = next
          continue
        }
        if (length + 1 <= this.#heldBytesMax && this.#streamedTypes[type] === 0) {
          this.#held = Buffer.allocUnsafe(length + 1)
          break
        }
        if (!visitor.begin(type, length - 4)) {
          this.#waiting = chunk.subarray(at)
          break
        }
        this.#streaming = next - end
        if (at + headBytes < end) visitor.part(chunk, at + headBytes, end, false)
        at = end
      }
      if (this.#waiting === undefined && at < end) {
        chunk.copy(this.#held, 0, at, end)
        this.#heldBytes = end - at
      }
    } finally {
      if (at > from) {
        this.#emit(from === 0 && at === end ? chunk : chunk.subarray(from, at))
      }
    }
  }

  /** Completes the held message from the chunk; returns where the chunk goes on. */
  #fill(chunk: Buffer): number {
    let at = 0
    if (this.#heldBytes < headBytes) {
      const taken = Math.min(headBytes - this.#heldBytes, chunk.length)
      chunk.copy(this.#head, this.#heldBytes, 0, taken)
      this.#heldBytes += taken
      at = taken
      if (this.#heldBytes < headBytes) return at
      const type = this.#head[0]!
      const length = this.#checkedLength(type, this.#head, 0)
      const streamed = length + 1 > this.#heldBytesMax || this.#streamedTypes[type] !== 0
      if (streamed && length > 4) {
        if (!this.#heldHead(this.#head)) this.#waitingHeld = true
        return at
      }
      this.#held = Buffer.allocUnsafe(length + 1)
      this.#head.copy(this.#held)
    }
    const held = this.#held
    const taken = Math.min(held.length - this.#heldBytes, chunk.length - at)
    chunk.copy(held, this.#heldBytes, at, at + taken)
    this.#heldBytes += taken
    at += taken
    if (this.#heldBytes === held.length && !this.#heldHead(held)) this.#waitingHeld = true
    return at
  }

  /** Visits what is held: a whole message, or the bare head of one that is streamed. */
  #heldHead(held: Buffer): boolean {
    const visitor = this.#visitor
    if (held === this.#head && held.readUInt32BE(1) > 4) {
      const bodyBytes = held.readUInt32BE(1) - 4
      if (!visitor.begin(held[0]!, bodyBytes)) return false
      this.#streaming = bodyBytes
      this.#heldBytes = 0
      this.#emit(Buffer.from(held))
      return true
    }
    if (!visitor.whole(held, 0, held.length)) return false
    this.#heldBytes = 0
    this.#held = this.#head
    this.#emit(held)
    return true
  }

  #checkedLength(type: number, buffer: Buffer, at: number): number {
    const length =
      ((buffer[at + 1]! << 24) |
        (buffer[at + 2]! << 16) |
        (buffer[at + 3]! << 8) |
        buffer[at + 4]!) >>>
      0
    if (length < 4 || length > this.#lengths[type]!) {
      const known = this.#lengths[type] !== 0
      throw new SallyportError(
        'protocol-violation',
        `${this.#who}: message type 0x${type.toString(16).padStart(2, '0')} with length ${length}`,
        {
          clientMessage: known
            ? `a message of ${length} bytes is not allowed here`
            : `message type 0x${type.toString(16).padStart(2, '0')} is not allowed here`,
          hint: 'This is a mistake of the client program, or the two sides lost step; connect again.',
        },
      )
    }
    return length
  }
}
