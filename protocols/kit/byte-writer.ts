/**
 * Appends binary fields (big-endian) to one growing buffer that is reused, so that the hot path
 * allocates nothing. Callers read `bytes()` and call `reset()` before the next use.
 */
export class ByteWriter {
  #buffer: Buffer
  #length = 0

  constructor(initialBytes = 4096) {
    this.#buffer = Buffer.allocUnsafeSlow(initialBytes)
  }

  get length(): number {
    return this.#length
  }

  /** Makes room for `bytes` more and returns the offset where they start. */
  reserve(bytes: number): number {
    const start = this.#length
    const needed = start + bytes
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2))
      this.#buffer.copy(grown, 0, 0, start)
      this.#buffer = grown
    }
    this.#length = needed
    return start
  }

  u8(value: number): void {
    const at = this.reserve(1)
    this.#buffer[at] = value
  }

  u16(value: number): void {
    const at = this.reserve(2)
    this.#buffer[at] = value >>> 8
    this.#buffer[at + 1] = value
  }

  u32(value: number): void {
    const at = this.reserve(4)
    this.putU32(at, value)
  }

  /** An unsigned integer below 2^53 in eight bytes. */
  u64(value: number): void {
    const at = this.reserve(8)
    this.putU64(at, value)
  }

  putU32(at: number, value: number): void {
    const buffer = this.#buffer
    buffer[at] = value >>> 24
    buffer[at + 1] = value >>> 16
    buffer[at + 2] = value >>> 8
    buffer[at + 3] = value
  }

  putU64(at: number, value: number): void {
    const high = Math.floor(value / 0x1_0000_0000)
    this.putU32(at, high)
    this.putU32(at + 4, value >>> 0)
  }

  copy(source: Uint8Array, start = 0, end = source.length): void {
    const at = this.reserve(end - start)
    if (source instanceof Buffer) source.copy(this.#buffer, at, start, end)
    else this.#buffer.set(source.subarray(start, end), at)
  }

  utf8(text: string): number {
    const bytes = Buffer.byteLength(text)
    const at = this.reserve(bytes)
    this.#buffer.write(text, at, 'utf8')
    return bytes
  }

  /** One byte for each character (U+0000 to U+00FF). */
  binary(text: string): void {
    const at = this.reserve(text.length)
    this.#buffer.write(text, at, 'latin1')
  }

  /** A view of the bytes from `start` on; valid until the next append or reset. */
  bytes(start = 0): Buffer {
    return this.#buffer.subarray(start, this.#length)
  }

  truncate(length: number): void {
    this.#length = length
  }

  reset(): void {
    this.#length = 0
  }
}
