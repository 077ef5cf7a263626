/**
 * One session's only way upstream. What is forwarded after a record waits until that record is durable; what waits
 * when the session is cut is dropped. The order of calls is kept, and a slow upstream is felt by the caller.
 */
import type { Writable } from 'node:stream'
import type {
  CommitQueue,
  Durability,
  Forwarder,
  ForwarderOptions,
  SpoolSession,
  Waiter,
} from './spool-types.ts'

/** Calls have no size; so many may wait. */
const queuedMax = 4_096

export function createForwarder(
  spool: CommitQueue,
  session: SpoolSession,
  options: ForwarderOptions,
): Forwarder {
  return new SessionForwarder(spool, session, options)
}

class SessionForwarder implements Forwarder, Waiter {
  readonly durability: Durability
  readonly #spool: CommitQueue
  readonly #session: SpoolSession
  readonly #queueBytesMax: number
  readonly #onDrain: () => void
  /** Parallel, from `#first` on: what goes where, and after which batch. A call has no chunk. */
  #targets: (Writable | (() => void))[] = []
  #chunks: (Buffer | undefined)[] = []
  #batches: number[] = []
  #first = 0
  #queuedBytes = 0
  #forwardedBytes = 0
  #waiting = false
  #callerWaits = false
  #stopped = false
  #flushing = false
  /** What was written to last: it may hold bytes that it did not pass on, also where it is not full. */
  #latest: Writable | undefined
  /** A target that is full. */
  #slow: Writable | undefined

  constructor(spool: CommitQueue, session: SpoolSession, options: ForwarderOptions) {
    this.#spool = spool
    this.#session = session
    this.durability = options.durability
    this.#queueBytesMax = options.queueBytesMax
    this.#onDrain = options.onDrain
  }

  get pendingBytes(): number {
    return this.#queuedBytes + (this.#latest?.writableLength ?? 0)
  }

  get forwardedBytes(): number {
    return this.#forwardedBytes
  }

  forward(target: Writable, chunk: Buffer): boolean {
    if (this.#stopped) return false
    // Nothing to wait for: the records of this session are durable and nothing is ahead.
    if (this.#isFree()) this.#write(target, chunk)
    else this.#queue(target, chunk)
    return this.#mayGoOn()
  }

  forwardCall(run: () => void): boolean {
    if (this.#stopped) return false
    if (this.#isFree()) run()
    else this.#queue(run, undefined)
    return this.#mayGoOn()
  }

  stop(): number {
    if (this.#stopped) return 0
    this.#stopped = true
    const dropped = this.#queuedBytes
    this.#clear()
    this.#unblock()
    return dropped
  }

  /** Called by the spool. */
  release(batch: number): void {
    this.#waiting = false
    if (this.#stopped) return
    this.#flush(batch)
  }

  #isFree(): boolean {
    return (
      this.#queuedCount() === 0 &&
      this.#slow === undefined &&
      !this.#flushing &&
      this.#session.batch <= this.#spool.durableBatch(this.durability)
    )
  }

  #queuedCount(): number {
    return this.#targets.length - this.#first
  }

  #mayGoOn(): boolean {
    const may =
      this.#slow === undefined &&
      this.#queuedBytes < this.#queueBytesMax &&
      this.#queuedCount() < queuedMax
    if (!may) this.#callerWaits = true
    return may
  }

  #queue(target: Writable | (() => void), chunk: Buffer | undefined): void {
    this.#targets.push(target)
    this.#chunks.push(chunk)
    this.#batches.push(this.#session.batch)
    this.#queuedBytes += chunk?.length ?? 0
    this.#wait()
  }

  #wait(): void {
    if (this.#waiting || this.#slow !== undefined || this.#flushing) return
    this.#waiting = true
    this.#spool.wait(this)
  }

  #write(target: Writable, chunk: Buffer): void {
    this.#forwardedBytes += chunk.length
    this.#latest = target
    if (!target.write(chunk)) this.#block(target)
  }

  /** Lets go what waited for batches up to `batch`. */
  #flush(batch: number): void {
    this.#flushing = true
    let corked: Writable | undefined
    while (
      this.#slow === undefined &&
      this.#first < this.#targets.length &&
      this.#batches[this.#first]! <= batch
    ) {
      const target = this.#targets[this.#first]!
      const chunk = this.#chunks[this.#first]
      // Not held longer than needed: the arrays are emptied only at the end.
      this.#chunks[this.#first] = undefined
      this.#first += 1
      if (typeof target === 'function') {
        corked?.uncork()
        corked = undefined
        target()
      } else if (chunk !== undefined) {
        if (corked !== target && this.#first < this.#targets.length) {
          corked?.uncork()
          target.cork()
          corked = target
        }
        this.#queuedBytes -= chunk.length
        this.#write(target, chunk)
      }
      if (this.#stopped) break
    }
    corked?.uncork()
    this.#flushing = false
    if (this.#stopped) return
    if (this.#first < this.#targets.length) {
      this.#wait()
      return
    }
    this.#targets.length = 0
    this.#chunks.length = 0
    this.#batches.length = 0
    this.#first = 0
    this.#tellCaller()
  }

  #tellCaller(): void {
    if (!this.#callerWaits || this.#slow !== undefined || this.#queuedCount() > 0) return
    this.#callerWaits = false
    this.#onDrain()
  }

  #block(target: Writable): void {
    if (this.#slow === target) return
    this.#slow = target
    target.on('drain', this.#unblocked)
    target.on('close', this.#unblocked)
  }

  #unblock(): void {
    this.#slow?.off('drain', this.#unblocked)
    this.#slow?.off('close', this.#unblocked)
    this.#slow = undefined
  }

  readonly #unblocked = (): void => {
    this.#unblock()
    if (this.#stopped) return
    if (this.#queuedCount() > 0) this.#flush(this.#spool.durableBatch(this.durability))
    else this.#tellCaller()
  }

  #clear(): void {
    this.#targets = []
    this.#chunks = []
    this.#batches = []
    this.#first = 0
    this.#queuedBytes = 0
  }
}
