import type { Writable } from 'node:stream'
import type { Downstream } from '../../session.ts'
import type { Exchange } from '../wire.ts'

/** The answer as its session sees it, to destroy and to wait for. */
export class AnswerDownstream implements Downstream {
  readonly #exchange: Pick<Exchange, 'onClose'>
  readonly #answer: Writable

  constructor(exchange: Pick<Exchange, 'onClose'>, answer: Writable) {
    this.#exchange = exchange
    this.#answer = answer
  }

  get destroyed(): boolean {
    return this.#answer.destroyed
  }

  get writableLength(): number {
    return this.#answer.writableLength
  }

  destroy(error?: Error): void {
    this.#answer.destroy(error)
  }

  resume(): void {}

  end(): void {
    this.#answer.end()
  }

  once(_event: 'close', listener: () => void): void {
    this.#exchange.onClose(listener)
  }

  /** Whoever made the exchange listens already. */
  on(): void {}
}
