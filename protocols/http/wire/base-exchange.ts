import type { Writable } from 'node:stream'
import type { SallyportError } from '../../kit/errors.ts'

/** What exchanges of all versions do alike: they say when more of their answer is taken, and when it is over. */
export abstract class BaseExchange {
  isOver = false
  givenUp: SallyportError | undefined
  readonly #answer: Writable
  readonly #closeListeners: (() => void)[] = []
  #onDrain: (() => void) | undefined
  #awaitsDrain = false

  constructor(answer: Writable) {
    this.#answer = answer
    // One listener for all: each of Node's would cost more than what it does here.
    answer.on('close', () => this.closed())
  }

  protected closed(): void {
    this.isOver = true
    for (const listener of this.#closeListeners.splice(0)) listener()
  }

  write(chunk: Buffer): boolean {
    const goesOn = this.#answer.write(chunk)
    // Few answers ever wait.
    if (!goesOn && !this.#awaitsDrain) {
      this.#awaitsDrain = true
      this.#answer.on('drain', () => this.#onDrain?.())
    }
    return goesOn
  }

  onDrain(listener: () => void): void {
    this.#onDrain = listener
  }

  onClose(listener: () => void): void {
    this.#closeListeners.push(listener)
  }
}
