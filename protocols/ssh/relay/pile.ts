const blockBytes = 64 * 1024

/** Bytes that wait, at about the cost of what they hold however small the chunks that they came in. */
export class Pile {
  #full: Buffer[] = []
  #block: Buffer | undefined
  #used = 0

  /** Copies. */
  push(bytes: Buffer): void {
    for (let start = 0; start < bytes.length;) {
      this.#block ??= Buffer.allocUnsafeSlow(blockBytes)
      const copied = bytes.copy(this.#block, this.#used, start)
      start += copied
      this.#used += copied
      if (this.#used < blockBytes) continue
      this.#full.push(this.#block)
      this.#block = undefined
      this.#used = 0
    }
  }

  /** The next in order; undefined: nothing waits. */
  shift(): Buffer | undefined {
    const full = this.#full.shift()
    if (full !== undefined || this.#used === 0) return full
    const rest = this.#block!.subarray(0, this.#used)
    this.#block = undefined
    this.#used = 0
    return rest
  }
}
