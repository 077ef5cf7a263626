import type { Writable } from 'node:stream'
import type { Host } from '../../engine.ts'
import { Roster, type Place } from '../../kit/roster.ts'
import type { Cut, HttpRule, Session } from '../../session.ts'
import { countRequests, type RequestCounter } from '../relay/request-counter.ts'
import { compileRules, type LevelRules } from '../relay/rules.ts'

/** Something under a lease that a cut must end: a request, a WebSocket, a stream of events. */
export interface Leaseholder {
  cut(cut: Cut): void
  /** As `Session.onDrain`: `target` may be forwarded to again; undefined: whatever need not drain itself. */
  drained?(target: Writable | undefined): void
}

const rulesKey = Symbol('rules of a session')

class SessionRules implements Disposable {
  readonly rules: LevelRules

  constructor(rules: readonly HttpRule[]) {
    this.rules = compileRules(rules)
  }

  [Symbol.dispose](): void {}
}

/**
 * What one connection holds for one piece of evidence: one lease of the session, however many requests. It is given back when the connection
 * ends, or after a cut as soon as nobody is told anything any more.
 */
export class HeldLease {
  readonly session: Session
  readonly rules: LevelRules
  readonly counter: RequestCounter
  /** When the gate last said yes, monotonic ms. */
  readonly sinceMs: number
  readonly #holders = new Roster<Leaseholder>()
  readonly #drains = new Map<Writable, () => void>()
  readonly #listeners = new Set<(line: string) => void>()
  #isRetired = false
  #isReleased = false
  readonly #onCut = (): void => {
    for (const holder of this.#holders.items()) holder.cut(this.session.signal.reason as Cut)
    if (this.#holders.size === 0) this.release()
  }

  /** Throws where the session was cut meanwhile; then the lease is given back. */
  constructor(session: Session, host: Host) {
    this.session = session
    this.sinceMs = host.clock.monotonicMs()
    const { http } = session
    if (http === undefined) throw new Error('a session of another protocol')
    this.rules = session.keep(rulesKey, () => new SessionRules(http.rules)).rules
    this.counter = countRequests(session, http.limits, host.clock)
    session.opened((line) => {
      for (const listener of this.#listeners) listener(line)
    })
    session.onDrain((target) => {
      if (target !== undefined) this.#drains.get(target)?.()
      else for (const [each, run] of [...this.#drains]) if (!each.writableNeedDrain) run()
      for (const holder of this.#holders.items()) holder.drained?.(target)
    })
    if (session.signal.aborted) this.#onCut()
    else session.signal.addEventListener('abort', this.#onCut, { once: true })
  }

  get isBusy(): boolean {
    return this.#holders.size > 0
  }

  /** The cut that ended it. */
  get ended(): Cut | undefined {
    return this.session.signal.aborted ? (this.session.signal.reason as Cut) : undefined
  }

  enter(holder: Leaseholder): Place<Leaseholder> {
    return this.#holders.add(holder)
  }

  leave(place: Place<Leaseholder>): void {
    this.#holders.remove(place)
    const isDone = this.#isRetired || this.session.signal.aborted
    if (this.#holders.size === 0 && isDone) this.release()
  }

  /** Calls `run` when `target` may be forwarded to again. */
  awaitDrain(target: Writable, run: () => void): void {
    this.#drains.set(target, run)
  }

  forgetDrain(target: Writable): void {
    this.#drains.delete(target)
  }

  onWarning(listener: (line: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Nothing more begins under it: it is given back once what did is over. */
  retire(): void {
    this.#isRetired = true
    if (this.#holders.size === 0) this.release()
  }

  release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    // The session may have hours, and thousands of leases, before it.
    this.session.signal.removeEventListener('abort', this.#onCut)
    this.session.end('client-closed')
    // The session's own end is its gate's to report.
    this.session[Symbol.asyncDispose]().then(
      () => {},
      () => {},
    )
  }
}
