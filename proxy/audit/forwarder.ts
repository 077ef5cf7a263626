/**
 * One session's only way upstream. What is forwarded after a record waits until that record is durable; what waits
 * when the session is cut is dropped. The order of calls is kept. What is durable is handed on at once, to whatever target:
 * one that is full buffers what it was given, so it is felt by the caller who feeds it and holds nobody else back.
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
/** Targets that may hold bytes are looked through once there are so many more. */
const holdingStep = 16

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
  readonly #onDrain: (target: Writable | undefined) => void
  readonly #onFailure: (error: unknown) => void
  /** Parallel, from `#first` on: what goes where, and after which batch. A call has no chunk. */
  #targets: (Writable | (() => void))[] = []
  #chunks: (Buffer | undefined)[] = []
  #batches: number[] = []
  #first = 0
  #queuedBytes = 0
  #forwardedBytes = 0
  #waiting = false
  /** Somebody was told to wait for the queue. */
  #callerWaits = false
  #stopped = false
  #flushing = false
  /** What was written to last: it may hold bytes that it did not pass on, also where it is not full. */
  #latest: Writable | undefined
  /** Other targets that may hold bytes. */
  readonly #holding = new Set<Writable>()
  #holdingMax = holdingStep
  /** Targets that are full, and what listens to each. */
  readonly #full = new Map<Writable, () => void>()

  constructor(spool: CommitQueue, session: SpoolSession, options: ForwarderOptions) {
    this.#spool = spool
    this.#session = session
    this.durability = options.durability
    this.#queueBytesMax = options.queueBytesMax
    this.#onDrain = options.onDrain
    this.#onFailure = options.onFailure
  }

  get pendingBytes(): number {
    let bytes = this.#queuedBytes + (this.#latest?.writableLength ?? 0)
    for (const target of this.#holding) if (target !== this.#latest) bytes += target.writableLength
    return bytes
  }

  get forwardedBytes(): number {
    return this.#forwardedBytes
  }

  forward(target: Writable, chunk: Buffer): boolean {
    if (this.#stopped) return false
    // Nothing to wait for: the records of this session are durable and nothing is ahead.
    if (this.#isFree()) this.#write(target, chunk)
    else this.#queue(target, chunk)
    return this.#mayGoOn() && !(this.#full.size > 0 && this.#full.has(target))
  }

  forwardCall(run: () => void): boolean {
    if (this.#stopped) return false
    if (this.#isFree()) this.#run(run)
    else this.#queue(run, undefined)
    return !this.#stopped && this.#mayGoOn()
  }

  stop(): number {
    if (this.#stopped) return 0
    this.#stopped = true
    const dropped = this.#queuedBytes
    this.#clear()
    for (const target of [...this.#full.keys()]) this.#unblock(target)
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
      !this.#flushing &&
      this.#session.batch <= this.#spool.durableBatch(this.durability)
    )
  }

  #queuedCount(): number {
    return this.#targets.length - this.#first
  }

  #isQueueFull(): boolean {
    return this.#queuedBytes >= this.#queueBytesMax || this.#queuedCount() >= queuedMax
  }

  #mayGoOn(): boolean {
    if (!this.#isQueueFull()) return true
    this.#callerWaits = true
    return false
  }

  #queue(target: Writable | (() => void), chunk: Buffer | undefined): void {
    this.#targets.push(target)
    this.#chunks.push(chunk)
    this.#batches.push(this.#session.batch)
    this.#queuedBytes += chunk?.length ?? 0
    this.#wait()
  }

  #wait(): void {
    if (this.#waiting || this.#flushing) return
    this.#waiting = true
    this.#spool.wait(this)
  }

  #write(target: Writable, chunk: Buffer): void {
    this.#forwardedBytes += chunk.length
    if (target !== this.#latest) this.#turnTo(target)
    if (!target.write(chunk)) this.#block(target)
  }

  #turnTo(target: Writable): void {
    const before = this.#latest
    this.#latest = target
    if (before === undefined || before.writableLength === 0) return
    this.#holding.add(before)
    if (this.#holding.size < this.#holdingMax) return
    for (const each of this.#holding) if (each.writableLength === 0) this.#holding.delete(each)
    this.#holdingMax = this.#holding.size + holdingStep
  }

  #run(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** It runs in the spool's turn: what is thrown there is this session's, and nobody else's. */
  #fail(error: unknown): void {
    this.stop()
    this.#onFailure(error)
  }

  /** Lets go what waited for batches up to `batch`. */
  #flush(batch: number): void {
    this.#flushing = true
    try {
      this.#handOn(batch)
    } catch (error) {
      this.#fail(error)
    }
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
    if (!this.#callerWaits) return
    this.#callerWaits = false
    this.#onDrain(undefined)
  }

  #handOn(batch: number): void {
    let corked: Writable | undefined
    while (this.#first < this.#targets.length && this.#batches[this.#first]! <= batch) {
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
        if (corked !== target) {
          corked?.uncork()
          corked = undefined
          // A channel of its own gains nothing from it, but sockets send what belongs together as one.
          if (this.#targets[this.#first] === target) {
            target.cork()
            corked = target
          }
        }
        this.#queuedBytes -= chunk.length
        this.#write(target, chunk)
      }
      if (this.#stopped) break
    }
    corked?.uncork()
  }

  #block(target: Writable): void {
    // One that is gone drains no more; whoever feeds it learns that from itself.
    if (target.destroyed || this.#full.has(target)) return
    const drained = (): void => {
      this.#unblock(target)
      // While the queue is full, its end tells everybody.
      if (!this.#stopped && this.#mayGoOn()) this.#onDrain(target)
    }
    this.#full.set(target, drained)
    target.on('drain', drained)
    target.on('close', drained)
  }

  #unblock(target: Writable): void {
    const drained = this.#full.get(target)
    if (drained === undefined) return
    this.#full.delete(target)
    target.off('drain', drained)
    target.off('close', drained)
  }

  #clear(): void {
    this.#targets = []
    this.#chunks = []
    this.#batches = []
    this.#first = 0
    this.#queuedBytes = 0
  }
}
