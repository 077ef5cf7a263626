/**
 * Frames of a WebSocket (RFC 6455, 5) followed as they pass: where they begin and end, what kind they are, and whether they are as
 * they must be. Nothing is put together: a message may be as long as it likes, and costs no more than its frames' heads.
 *
 * Frames up to `wholeBytesMax` are held until they are whole, so that a close frame of ours nearly always finds a place between two.
 */

/** Who sent the frames: a client masks them, an app never does (RFC 6455, 5.1). */
export type FrameSide = 'client' | 'app'

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** Frames with no more payload than this pass whole. Bytes. */
export const wholeBytesMax = 16 * 1024

/** RFC 6455, 7.4.1. */
export const closeCodes = {
  normal: 1000,
  protocolError: 1002,
  policyViolation: 1008,
  tooBig: 1009,
  internalError: 1011,
} as const

export interface FrameSink {
  /** What may go on: whole frames, or the next part of a long one. Not to be changed. */
  pass(bytes: Buffer): void
  /** A frame whose head was understood; before its bytes are passed. */
  frame(opcode: number, isFinal: boolean, payloadBytes: number): void
  /** The next part of a text message, unmasked; before its bytes are passed. */
  text?(part: Buffer, isEnd: boolean): void
  /** A close frame; before it is passed. What follows it is dropped (RFC 6455, 5.5.1). */
  close(code: number | undefined): void
}

export interface FrameReaderOptions {
  readonly side: FrameSide
  /** Both agreed on permessage-deflate (RFC 7692): then the first frame of a message may be marked as compressed. */
  readonly mayCompress: boolean
}

/** A frame that RFC 6455 does not have. */
export class FrameError extends Error {
  /** What to close with. */
  readonly code: number

  constructor(message: string, code: number = closeCodes.protocolError) {
    super(message)
    this.name = 'FrameError'
    this.code = code
  }
}

const nothing = Buffer.alloc(0)

export class FrameReader {
  readonly #sink: FrameSink
  readonly #isMasked: boolean
  readonly #mayCompress: boolean
  /** What came of a frame (or its head) that is not whole; and how much it takes to go on. */
  #held: Buffer[] = []
  #heldBytes = 0
  #neededBytes = 2
  /** Of the frame that is passing in parts. */
  #leftBytes = 0
  #maskAt = 0
  #isLastPart = false
  readonly #mask = Buffer.alloc(4)
  /** Opcode of the message that has begun and not ended; -1: none. */
  #message = -1
  #isText = false
  #isClosed = false

  constructor(sink: FrameSink, { side, mayCompress }: FrameReaderOptions) {
    this.#sink = sink
    this.#isMasked = side === 'client'
    this.#mayCompress = mayCompress
  }

  /** Whether what has passed ends where a frame ends. */
  get isAtBoundary(): boolean {
    return this.#leftBytes === 0
  }

  /** Takes the next bytes. Throws `FrameError` once what came before it has passed; nothing passes after that. */
  push(chunk: Buffer): void {
    if (this.#isClosed) return
    if (this.#heldBytes + chunk.length < this.#neededBytes && this.#leftBytes === 0) {
      this.#hold(chunk)
      return
    }
    const bytes = this.#heldBytes === 0 ? chunk : Buffer.concat([...this.#held, chunk])
    this.#held = []
    this.#heldBytes = 0
    this.#neededBytes = 2
    let at = 0
    try {
      while (at < bytes.length && !this.#isClosed) {
        const next = this.#leftBytes > 0 ? this.#part(bytes, at) : this.#frame(bytes, at)
        if (next === at) break
        at = next
      }
    } catch (error) {
      this.#isClosed = true
      if (at > 0) this.#sink.pass(bytes.subarray(0, at))
      throw error
    }
    if (at > 0) this.#sink.pass(bytes.subarray(0, at))
    if (at < bytes.length && !this.#isClosed) this.#hold(bytes.subarray(at))
  }

  #hold(bytes: Buffer): void {
    // A copy: a few bytes would keep the whole chunk that they came in.
    this.#held.push(Buffer.from(bytes))
    this.#heldBytes += bytes.length
  }

  /** Where the next frame begins; `at` itself when there is too little of this one. */
  #frame(bytes: Buffer, at: number): number {
    const there = bytes.length - at
    if (there < 2) return this.#needs(2, at)
    const first = bytes[at]!
    const second = bytes[at + 1]!
    const opcode = first & 0x0f
    const isFinal = (first & 0x80) !== 0
    this.#checkHead(opcode, isFinal, first & 0x70, second)
    const short = second & 0x7f
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
    const maskAt = 2 + lengthBytes
    if (there < maskAt) return this.#needs(maskAt, at)
    const length = lengthBytes === 0 ? short : readLength(bytes, at + 2, lengthBytes)
    const headBytes = maskAt + (this.#isMasked ? 4 : 0)
    const neededBytes = headBytes + (length <= wholeBytesMax ? length : 0)
    if (there < neededBytes) return this.#needs(neededBytes, at)
    if (this.#isMasked) bytes.copy(this.#mask, 0, at + maskAt, at + headBytes)
    this.#begin(opcode, isFinal)
    if (opcode === opcodes.close) {
      const payload = this.#unmasked(bytes.subarray(at + headBytes, at + headBytes + length), 0)
      const code = closeCode(payload)
      this.#sink.frame(opcode, isFinal, length)
      this.#sink.close(code)
      this.#isClosed = true
      return at + headBytes + length
    }
    this.#sink.frame(opcode, isFinal, length)
    if (opcode >= opcodes.close) return at + headBytes + length
    this.#isLastPart = isFinal
    this.#maskAt = 0
    this.#leftBytes = length
    return length === 0 ? this.#emptyPart(at + headBytes) : this.#part(bytes, at + headBytes)
  }

  #needs(neededBytes: number, at: number): number {
    this.#neededBytes = neededBytes
    return at
  }

  /** RFC 6455, 5.2 and 5.4. */
  #checkHead(opcode: number, isFinal: boolean, reserved: number, second: number): void {
    const isMasked = (second & 0x80) !== 0
    if (isMasked !== this.#isMasked) {
      throw new FrameError(isMasked ? 'a masked frame of an app' : 'an unmasked frame of a client')
    }
    const isControl = opcode >= opcodes.close
    if (opcode > opcodes.pong || (opcode > opcodes.binary && !isControl)) {
      throw new FrameError(`opcode ${opcode}`)
    }
    const beginsMessage = opcode === opcodes.text || opcode === opcodes.binary
    if ((reserved & ~(this.#mayCompress && beginsMessage ? 0x40 : 0)) !== 0) {
      throw new FrameError('reserved bits that nobody agreed on')
    }
    if (isControl) {
      if (!isFinal) throw new FrameError('a control frame in parts')
      if ((second & 0x7f) > 125) throw new FrameError('a control frame of more than 125 bytes')
      if (opcode === opcodes.close && (second & 0x7f) === 1) {
        throw new FrameError('half a close code')
      }
    } else if (beginsMessage === (this.#message !== -1)) {
      throw new FrameError(
        beginsMessage ? 'a message within a message' : 'a continuation of nothing',
      )
    }
  }

  #begin(opcode: number, isFinal: boolean): void {
    if (opcode >= opcodes.close) return
    if (opcode !== opcodes.continuation) this.#isText = opcode === opcodes.text
    this.#message = isFinal ? -1 : opcode
  }

  #part(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#leftBytes)
    // What a long frame begins with may be only its head.
    if (end === at) return end
    this.#leftBytes -= end - at
    if (this.#isText && this.#sink.text !== undefined) {
      const part = this.#unmasked(bytes.subarray(at, end), this.#maskAt)
      this.#sink.text(part, this.#leftBytes === 0 && this.#isLastPart)
    }
    this.#maskAt = (this.#maskAt + end - at) & 3
    return end
  }

  #emptyPart(at: number): number {
    if (this.#isText && this.#isLastPart) this.#sink.text?.(nothing, true)
    return at
  }

  #unmasked(bytes: Buffer, maskAt: number): Buffer {
    if (!this.#isMasked) return bytes
    const plain = Buffer.allocUnsafe(bytes.length)
    for (let at = 0; at < bytes.length; at++) {
      plain[at] = bytes[at]! ^ this.#mask[(maskAt + at) & 3]!
    }
    return plain
  }
}

function readLength(bytes: Buffer, at: number, lengthBytes: number): number {
  if (lengthBytes === 2) {
    const length = bytes.readUInt16BE(at)
    if (length < 126) throw new FrameError(notShortest)
    return length
  }
  const high = bytes.readUInt32BE(at)
  // More than a number holds exactly, let alone a stream.
  if (high > 0x1f_ffff) throw new FrameError('a frame of more than 2^53 bytes', closeCodes.tooBig)
  const length = high * 2 ** 32 + bytes.readUInt32BE(at + 4)
  if (length < 65_536) throw new FrameError(notShortest)
  return length
}

/** RFC 6455, 5.2: "the minimal number of bytes MUST be used". Two readers that differ here would see two streams. */
const notShortest = 'a length in more bytes than it takes'

/** RFC 6455, 7.4. The payload is empty, or has the two bytes of a code. */
function closeCode(payload: Buffer): number | undefined {
  if (payload.length === 0) return undefined
  const code = payload.readUInt16BE(0)
  const isKnown = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)
  if (isKnown || (code >= 3000 && code <= 4999)) return code
  throw new FrameError(`close code ${code}`)
}

/** A close frame; to an app it is masked. The reason is cut to what fits (RFC 6455, 5.5.1). */
export function closeFrame(code: number, reason: string, mask?: Buffer): Buffer {
  const payload = Buffer.alloc(2 + 123)
  payload.writeUInt16BE(code, 0)
  const length = 2 + payload.write(reason, 2, 'utf8')
  const head = [0x80 | opcodes.close, (mask === undefined ? 0 : 0x80) | length]
  const text = payload.subarray(0, length)
  if (mask === undefined) return Buffer.concat([Buffer.from(head), text])
  for (let at = 0; at < length; at++) text[at] = text[at]! ^ mask[at & 3]!
  return Buffer.concat([Buffer.from(head), mask, text])
}
