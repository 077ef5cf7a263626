import type { Socket } from 'node:net'
import { SallyportError } from '../../kit/errors.ts'

/**
 * Takes measured pieces off a socket during a handshake, where each side waits for the other. One `take` at a
 * time. Holds at most what the peer sent before it was paused: the socket does not flow between two takes.
 */
export class Inbox {
  readonly #socket: Socket
  #buffer: Buffer = Buffer.alloc(0)
  #measure: ((buffer: Buffer) => number | undefined) | undefined
  #resolve: ((taken: Buffer) => void) | undefined
  #reject: ((error: Error) => void) | undefined
  #failure: Error | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.pause()
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onEnd)
    socket.on('error', this.#onError)
  }

  /** What has arrived and was not taken. */
  get bufferedBytes(): number {
    return this.#buffer.length
  }

  /** The first byte that was not taken. */
  get firstByte(): number | undefined {
    return this.#buffer[0]
  }

  /**
   * Resolves with the next piece. `measure` says how long it is, or undefined while it cannot know; it may throw. Rejects
   * with `protocol-violation` if the peer is gone first.
   */
  take(measure: (buffer: Buffer) => number | undefined): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#measure = measure
      this.#resolve = resolve
      this.#reject = reject
      if (this.#failure !== undefined) this.fail(this.#failure)
      else if (!this.#offer()) this.#socket.resume()
    })
  }

  /** Makes the current and every later `take` reject. */
  fail(error: Error): void {
    this.#failure ??= error
    const reject = this.#reject
    this.#measure = this.#resolve = this.#reject = undefined
    reject?.(this.#failure)
  }

  /** Lets the socket go, paused; what was not taken goes back into it. */
  release(): void {
    this.#socket.pause()
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onEnd)
    this.#socket.off('close', this.#onEnd)
    this.#socket.off('error', this.#onError)
    if (this.#buffer.length > 0 && !this.#socket.readableEnded) this.#socket.unshift(this.#buffer)
    this.#buffer = Buffer.alloc(0)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk])
    if (this.#offer()) this.#socket.pause()
  }

  readonly #onEnd = (): void => {
    this.fail(new SallyportError('protocol-violation', 'the peer closed during the handshake'))
  }

  readonly #onError = (error: Error): void => {
    this.fail(
      new SallyportError(
        'protocol-violation',
        `the peer failed during the handshake: ${error.message}`,
        {
          cause: error,
        },
      ),
    )
  }

  /** Answers the waiting `take` if enough is here. */
  #offer(): boolean {
    const measure = this.#measure
    if (measure === undefined) return true
    try {
      const bytes = measure(this.#buffer)
      if (bytes === undefined || this.#buffer.length < bytes) return false
      const taken = this.#buffer.subarray(0, bytes)
      this.#buffer = this.#buffer.subarray(bytes)
      const resolve = this.#resolve
      this.#measure = this.#resolve = this.#reject = undefined
      resolve?.(taken)
    } catch (error) {
      this.fail(error as Error)
    }
    return true
  }
}
