import type { SallyportError } from '../../protocols/kit/errors.ts'
import type { CommitQueue, Durability, Waiter } from './spool-types.ts'

/** Resolves once a batch is as durable as asked; the spool rejects it when it fails. */
export class CommitWaiter implements Waiter {
  readonly durability: Durability
  readonly reject: (failure: SallyportError) => void
  readonly #queue: CommitQueue
  readonly #batch: number
  readonly #resolve: () => void

  constructor(
    queue: CommitQueue,
    durability: Durability,
    batch: number,
    resolve: () => void,
    reject: (failure: SallyportError) => void,
  ) {
    this.#queue = queue
    this.durability = durability
    this.#batch = batch
    this.#resolve = resolve
    this.reject = reject
  }

  release(batch: number): void {
    if (batch >= this.#batch) this.#resolve()
    else this.#queue.wait(this)
  }
}
