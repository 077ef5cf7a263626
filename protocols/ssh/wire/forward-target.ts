import { Writable } from 'node:stream'
import type { Channel } from './channel.ts'

/** What is buffered towards one channel before its writer has to wait. */
const bufferedBytes = 1024 * 1024

/** The way into a channel as a stream that `Session.forward` can be given. Ending it sends EOF after all that was written. */
export class ForwardTarget extends Writable {
  #channel: Channel | undefined
  #taken: (() => void) | undefined

  constructor() {
    super({ highWaterMark: bufferedBytes, emitClose: false })
    this.on('error', () => {})
  }

  leadTo(channel: Channel): void {
    this.#channel = channel
  }

  /** The channel takes more again. */
  drained(): void {
    const taken = this.#taken
    this.#taken = undefined
    taken?.()
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    if (this.#channel === undefined || this.#channel.isOver || this.#channel.write(chunk)) done()
    else this.#taken = done
  }

  override _final(done: () => void): void {
    this.#channel?.eof()
    done()
  }
}
