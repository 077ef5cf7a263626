import type { Clock } from '../../kit/clock.ts'
import type { HttpTerms, Session } from '../../session.ts'
import { HttpRefusal } from '../wire/refusal.ts'

/** Counts requests under a session: those that are open in it, and those that its person began at this resource within a minute. */
export interface RequestCounter {
  /** Throws `HttpRefusal` 429 past a limit; otherwise `leave` must follow. */
  enter(): void
  leave(): void
}

type Limits = Pick<HttpTerms['limits'], 'requestsMax' | 'perMinuteMax'>

const openKey = Symbol('requests open in a session')
const begunKey = Symbol('requests that a person began')
const minuteMs = 60_000

export function countRequests(
  session: Pick<Session, 'keep'>,
  { requestsMax, perMinuteMax }: Limits,
  clock: Clock,
): RequestCounter {
  const open = session.keep(openKey, () => ({ count: 0, [Symbol.dispose]() {} }))
  const begun = session.keep(begunKey, () => new BegunRequests(clock), 'person')
  return {
    enter() {
      if (open.count >= requestsMax) {
        throw new HttpRefusal(429, 'limit-reached', 'too many requests of yours are open here', {
          hint: 'Wait for some of them to end.',
        })
      }
      if (perMinuteMax > 0 && !begun.mayBegin(perMinuteMax)) {
        throw new HttpRefusal(429, 'rate-limited', 'too many requests of yours in this minute', {
          hint: 'Try again in a minute.',
        })
      }
      open.count++
    },
    leave: () => void open.count--,
  }
}

/**
 * A bucket that fills with each request and leaks as many as are allowed in a minute: at no moment can one begin more than those at
 * once, as one could at the edge between two minutes that are counted apart.
 */
class BegunRequests implements Disposable {
  readonly #clock: Clock
  #count = 0
  #atMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#atMs = clock.monotonicMs()
  }

  /** Counts one more, where there is room for it. */
  mayBegin(perMinuteMax: number): boolean {
    const nowMs = this.#clock.monotonicMs()
    const leaked = ((nowMs - this.#atMs) * perMinuteMax) / minuteMs
    this.#count = Math.max(0, this.#count - leaked)
    this.#atMs = nowMs
    if (this.#count + 1 > perMinuteMax) return false
    this.#count += 1
    return true
  }

  [Symbol.dispose](): void {}
}
