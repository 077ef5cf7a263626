import { SallyportError } from './errors.ts'

/** Reads binary fields (big-endian); every read is bounded, a short buffer is a `protocol-violation`. */
export class ByteReader {
  readonly #buffer: Buffer
  #offset: number
  readonly #end: number

  constructor(buffer: Buffer, start = 0, end = buffer.length) {
    this.#buffer = buffer
    this.#offset = start
    this.#end = end
  }

  get offset(): number {
    return this.#offset
  }

  get remaining(): number {
    return this.#end - this.#offset
  }

  #take(bytes: number): number {
    if (!(bytes >= 0 && bytes <= this.#end - this.#offset)) {
      throw new SallyportError(
        'protocol-violation',
        `short buffer: wanted ${bytes} bytes, ${this.#end - this.#offset} left`,
      )
    }
    const at = this.#offset
    this.#offset += bytes
    return at
  }

  u8(): number {
    return this.#buffer[this.#take(1)]!
  }

  u16(): number {
    return this.#buffer.readUInt16BE(this.#take(2))
  }

  i16(): number {
    return this.#buffer.readInt16BE(this.#take(2))
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4))
  }

  i32(): number {
    return this.#buffer.readInt32BE(this.#take(4))
  }

  /** An unsigned integer in eight bytes; more than 2^53 - 1 is a violation. */
  u64(): number {
    const at = this.#take(8)
    const value = this.#buffer.readUInt32BE(at) * 0x1_0000_0000 + this.#buffer.readUInt32BE(at + 4)
    if (!Number.isSafeInteger(value)) {
      throw new SallyportError('protocol-violation', 'integer above 2^53 - 1')
    }
    return value
  }

  /** A view, not a copy. */
  bytes(length: number): Buffer {
    const at = this.#take(length)
    return this.#buffer.subarray(at, at + length)
  }

  utf8(length: number): string {
    return this.bytes(length).toString('utf8')
  }

  /** Text up to a zero byte, which is consumed. */
  cString(): string {
    const zero = this.#buffer.indexOf(0, this.#offset)
    if (zero < 0 || zero >= this.#end) {
      throw new SallyportError('protocol-violation', 'string without its end')
    }
    const text = this.#buffer.toString('utf8', this.#offset, zero)
    this.#offset = zero + 1
    return text
  }
}
