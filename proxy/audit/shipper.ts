/**
 * Ships the spool to control: one request at a time, soon when there is little to do and in larger requests when there is
 * much, again and again while control is away. Nothing leaves the disk before control has it.
 */
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import { SallyportError, toSallyportError, type ErrorCode } from '../../protocols/kit/errors.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Signer } from '../../certs/signer.ts'
import type { Outbox, Parcel } from './outbox.ts'
import { shipParcel, type AuditStore } from './ship-parcel.ts'

export interface ShipperOptions {
  outbox: Outbox
  store: AuditStore
  /** The key of the proxy's client certificate (ES256). */
  signer: Signer
  realm: string
  proxyId: string
  clock: Clock
  log: Log
  /** 0 to 1, for jitter. Default `Math.random`. */
  random?: () => number
}

export interface ShipperFigures {
  /** Batches and other parcels that control does not have yet. */
  behind: number
  /** How long the oldest of them has waited, milliseconds; 0 if there is none. */
  lagMs: number
  requests: number
  /** Batches that control put in quarantine. */
  quarantined: number
  /** Since the last success. */
  failures: number
  lastError: ErrorCode | undefined
}

export interface Shipper {
  figures(): ShipperFigures
  /** Ships what there is until all is shipped (true) or `deadlineMs` (monotonic) has passed (false). */
  flush(deadlineMs: number): Promise<boolean>
  /** Ends after the request under way, and writes down what was acknowledged. */
  close(): Promise<void>
}

const requestBytes = 1024 * 1024
/** From a commit to its request, when little happens. */
const soonMs = 25
/** From one request to the next, when much happens: fewer and larger requests cost less. */
const busyMs = 250
/** A request of this many bytes says that much happens. */
const busyBytes = 64 * 1024
const backoffMinMs = 100
const backoffMaxMs = 15_000

export function createShipper(options: ShipperOptions): Shipper {
  return new OutboxShipper(options)
}

class OutboxShipper implements Shipper {
  readonly #options: ShipperOptions
  readonly #random: () => number
  #timer: Timer | undefined
  #running: Promise<void> | undefined
  #closed = false
  #urgent = false
  #pauseMs = soonMs
  #waitingSinceMs: number | undefined
  #requests = 0
  #quarantined = 0
  #failures = 0
  #lastError: ErrorCode | undefined
  #idle: (() => void)[] = []

  constructor(options: ShipperOptions) {
    this.#options = options
    this.#random = options.random ?? Math.random
    options.outbox.onCommitted(() => this.#wake())
    this.#wake()
  }

  figures(): ShipperFigures {
    const { outbox, clock } = this.#options
    const since = this.#waitingSinceMs
    return {
      behind: outbox.behind,
      lagMs: since === undefined ? 0 : clock.monotonicMs() - since,
      requests: this.#requests,
      quarantined: this.#quarantined,
      failures: this.#failures,
      lastError: this.#lastError,
    }
  }

  #wake(): void {
    if (this.#timer !== undefined || this.#running !== undefined || this.#closed) return
    const { clock, outbox } = this.#options
    this.#waitingSinceMs ??= clock.monotonicMs()
    const pauseMs = this.#urgent || outbox.recentBytes >= requestBytes ? 0 : this.#pauseMs
    this.#start(pauseMs)
  }

  #start(delayMs: number): void {
    this.#timer = this.#options.clock.startTimer(delayMs, () => {
      this.#timer = undefined
      this.#running = this.#run()
    })
  }

  /** Ships one parcel; decides when to ship the next. Never rejects. */
  async #run(): Promise<void> {
    const { outbox } = this.#options
    let nextMs: number | undefined
    try {
      nextMs = await this.#shipOne(outbox)
      this.#failures = 0
      this.#lastError = undefined
    } catch (error) {
      nextMs = this.#failed(toSallyportError(error))
    }
    this.#running = undefined
    // A commit while the last request was under way found it running and did not wake anybody.
    if (nextMs === undefined && outbox.behind > 0) nextMs = this.#pauseMs
    if (nextMs === undefined) {
      this.#waitingSinceMs = undefined
      for (const idle of this.#idle.splice(0)) idle()
    } else if (!this.#closed) {
      this.#start(nextMs)
    }
  }

  /** Milliseconds until the next parcel; undefined when all is shipped. */
  async #shipOne(outbox: Outbox): Promise<number | undefined> {
    const parcel = await outbox.next(requestBytes)
    if (parcel === undefined) return undefined
    const startedMs = this.#options.clock.monotonicMs()
    this.#requests += 1
    try {
      const quarantined = await shipParcel(this.#options, parcel)
      if (quarantined > 0) this.#noteQuarantine(parcel, quarantined)
    } catch (error) {
      if (!(await this.#settle(parcel, toSallyportError(error)))) throw error
      return 0
    }
    await outbox.done(parcel)
    this.#waitingSinceMs = startedMs
    if (outbox.behind === 0) {
      this.#pauseMs = this.#pauseAfter(parcel)
      return undefined
    }
    if (parcel.kind !== 'batches') return 0
    this.#pauseMs = this.#pauseAfter(parcel)
    const large = parcel.bytes.length >= requestBytes / 2 || outbox.recentBytes >= requestBytes
    return large || this.#urgent ? 0 : this.#pauseMs
  }

  #pauseAfter(parcel: Parcel): number {
    return parcel.kind === 'batches' && parcel.bytes.length >= busyBytes ? busyMs : soonMs
  }

  #noteQuarantine({ line }: Parcel, batches: number): void {
    this.#quarantined += batches
    this.#options.log.error(
      { epoch: line.epoch, batches },
      'control holds other batches under these numbers: ours are in its quarantine',
    )
  }

  /** Refusals that another try cannot change. True: the parcel was dealt with. */
  async #settle(parcel: Parcel, error: SallyportError): Promise<boolean> {
    const { outbox, log, store } = this.#options
    if (parcel.kind === 'blob' && error.code === 'audit-corrupt') {
      const { path, sha256 } = parcel.blob
      log.error({ path, sha256, why: error.message }, 'a blob of the spool cannot be read any more')
      await store.quarantine(
        Buffer.from(sha256),
        `blob ${sha256}: ${error.message}`.slice(0, 1_000),
      )
      await outbox.done(parcel)
      return true
    }
    if (parcel.kind !== 'batches') return false
    const { line, firstBatch } = parcel
    const fields = { epoch: line.epoch, batch: firstBatch, why: error.message }
    if (error.code === 'audit-gap') {
      const expected = Number(/expected batch (\d+)/.exec(error.message)?.[1] ?? 0)
      if (expected < firstBatch && outbox.rewind(line, expected)) {
        log.warn(fields, 'control wants batches again that it acknowledged')
        return true
      }
      if (expected > firstBatch && expected <= line.last + 1) return false
    } else if (error.code !== 'audit-conflict' && error.code !== 'audit-corrupt') {
      return false
    }
    log.error(fields, 'control refuses batches of the spool for good; they go to its quarantine')
    outbox.setAsideAll(line, `refused by control: ${error.message}`)
    return true
  }

  /** Milliseconds until the next try. */
  #failed(error: SallyportError): number {
    this.#failures += 1
    if (this.#lastError !== error.code) {
      const fields = { code: error.code, why: error.message }
      this.#options.log.warn(fields, 'the audit cannot be shipped; it is kept and tried again')
    }
    this.#lastError = error.code
    const ceilingMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failures, 20))
    return ceilingMs * (0.5 + this.#random() / 2)
  }

  async flush(deadlineMs: number): Promise<boolean> {
    const { clock, outbox } = this.#options
    this.#urgent = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#wake()
    let alarm: Timer | undefined
    await new Promise<void>((resolve) => {
      this.#idle.push(resolve)
      alarm = clock.startTimer(Math.max(0, deadlineMs - clock.monotonicMs()), resolve)
    })
    alarm?.cancel()
    this.#urgent = false
    return outbox.behind === 0
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    this.#timer = undefined
    await this.#running
    await this.#options.outbox.remember()
  }
}
