/** A channel as a stream, for what is carried in it: the connection inside a jump, or the one behind a bastion. */
import { Duplex } from 'node:stream'
import type { Channel, ChannelHandlers } from './channel.ts'

const bufferedBytes = 256 * 1024

export class ChannelStream extends Duplex {
  #channel: Channel | undefined
  #taken: (() => void) | undefined
  /** Bytes that our reader has not taken yet. */
  #unread = 0

  constructor() {
    super({ highWaterMark: bufferedBytes })
  }

  readonly handlers: ChannelHandlers = {
    data: (bytes, extended) => {
      if (extended !== 0) {
        this.#channel?.consumed(bytes.length)
        return
      }
      if (this.push(bytes)) this.#channel?.consumed(bytes.length)
      else this.#unread += bytes.length
    },
    eof: () => void this.push(null),
    closed: () => void this.destroy(),
    request: (_type, wantsReply) => {
      if (wantsReply) this.#channel?.reserveReply()(false)
    },
    drained: () => this.#wrote(),
  }

  carriedBy(channel: Channel): void {
    this.#channel = channel
  }

  /** As a socket has it; a channel has no such delay. */
  setNoDelay(): this {
    return this
  }

  override _read(): void {
    const unread = this.#unread
    this.#unread = 0
    if (unread > 0) this.#channel?.consumed(unread)
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    if (this.#channel === undefined || this.#channel.write(chunk)) done()
    else this.#taken = done
  }

  override _final(done: () => void): void {
    this.#channel?.eof()
    this.#channel?.close()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#channel?.closeNow()
    done(error)
  }

  #wrote(): void {
    const taken = this.#taken
    this.#taken = undefined
    taken?.()
  }
}
