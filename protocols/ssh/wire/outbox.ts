/**
 * What leaves a connection in one turn, put together in memory that is used again. V8 counts memory outside of its heap and answers
 * every 64 MB of it by a full collection; with a buffer for each packet these took half of the time of a transfer.
 */
import type { Duplex } from 'node:stream'

/** Two packets of the largest size: what one read of a socket becomes. */
const blockBytes = 72 * 1024
/** Less is copied out, so that whoever does not read what is sent costs no more than a few times its size. */
const smallBytes = 16 * 1024
const freeBlocksMax = 64

interface Block {
  readonly bytes: Buffer
  used: number
}

/** Of all connections: most have something to send for a moment only. */
const freeBlocks: Block[] = []

export class Outbox {
  readonly #socket: Duplex
  #blocks: Block[] = []
  #last: Block | undefined
  /** Added, and not yet given to the socket. */
  #bytes = 0
  #isScheduled = false

  constructor(socket: Duplex) {
    this.#socket = socket
  }

  /** What the peer has not taken. */
  get waitingBytes(): number {
    return this.#bytes + this.#socket.writableLength
  }

  /** Room behind what was added; to be filled and added before anything else is. Undefined: more than a block holds. */
  room(bytes: number): Buffer | undefined {
    if (bytes > blockBytes) return undefined
    const { bytes: memory, used } = this.#blockFor(bytes)
    return memory.subarray(used, used + bytes)
  }

  /** Leaves at the end of this turn. Bytes that are not in room are copied where that is cheap, and must not change. */
  add(bytes: Buffer): void {
    this.#bytes += bytes.length
    if (bytes.length > blockBytes) {
      this.#last = undefined
      this.#blocks.push({ bytes, used: bytes.length })
    } else {
      const block = this.#blockFor(bytes.length)
      const isInRoom =
        bytes.buffer === block.bytes.buffer &&
        bytes.byteOffset === block.bytes.byteOffset + block.used
      if (!isInRoom) bytes.copy(block.bytes, block.used)
      block.used += bytes.length
    }
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  /** Gives everything to the socket. */
  flush(): void {
    const socket = this.#socket
    const blocks = this.#blocks
    if (blocks.length === 0) return
    this.#blocks = []
    this.#last = undefined
    this.#bytes = 0
    if (!socket.writable) return
    if (blocks.length > 1) socket.cork()
    for (const block of blocks) {
      if (block.used === 0) free(block)
      else if (block.bytes.length !== blockBytes) socket.write(block.bytes)
      else if (block.used < smallBytes) {
        socket.write(Buffer.from(block.bytes.subarray(0, block.used)))
        free(block)
      } else {
        // After an error somebody may still read it.
        socket.write(block.bytes.subarray(0, block.used), (error) => {
          if (error === null || error === undefined) free(block)
        })
      }
    }
    if (blocks.length > 1) socket.uncork()
  }

  #blockFor(bytes: number): Block {
    const last = this.#last
    if (last !== undefined && last.used + bytes <= blockBytes) return last
    const block = freeBlocks.pop() ?? { bytes: Buffer.allocUnsafeSlow(blockBytes), used: 0 }
    this.#blocks.push(block)
    this.#last = block
    return block
  }
}

function free(block: Block): void {
  block.used = 0
  if (freeBlocks.length < freeBlocksMax) freeBlocks.push(block)
}
