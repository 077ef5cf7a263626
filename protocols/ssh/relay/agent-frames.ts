import { SallyportError } from '../../kit/errors.ts'

/** OpenSSH's agent takes no longer message. */
const frameBytesMax = 256 * 1024

/** Takes `uint32 length, bytes` apart, however it was split. */
export class AgentFrames {
  #rest = Buffer.alloc(0)

  /** The messages that are whole now. Throws `protocol-violation` past 256 KiB. */
  push(bytes: Buffer): Buffer[] {
    this.#rest = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes])
    const frames: Buffer[] = []
    while (this.#rest.length >= 4) {
      const length = this.#rest.readUInt32BE(0)
      if (length < 1 || length > frameBytesMax) {
        throw new SallyportError('protocol-violation', `an agent's message of ${length} bytes`)
      }
      if (this.#rest.length < 4 + length) break
      frames.push(this.#rest.subarray(4, 4 + length))
      this.#rest = this.#rest.subarray(4 + length)
    }
    return frames
  }
}
