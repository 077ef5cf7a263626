import type { Clock } from '../../kit/clock.ts'
import type { HttpTerms, Session } from '../../session.ts'
import { HttpRefusal } from '../wire/refusal.ts'

/** Counts requests under a session: those that are open in it, and those that its person began at this resource in this minute. */
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
      if (perMinuteMax > 0 && begun.count() >= perMinuteMax) {
        throw new HttpRefusal(429, 'rate-limited', 'too many requests of yours in this minute', {
          hint: 'Try again in a minute.',
        })
      }
      open.count++
      begun.add()
    },
    leave: () => void open.count--,
  }
}

class BegunRequests implements Disposable {
  readonly #clock: Clock
  #minute = -1
  #count = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  count(): number {
    const minute = Math.floor(this.#clock.monotonicMs() / minuteMs)
    if (minute !== this.#minute) {
      this.#minute = minute
      this.#count = 0
    }
    return this.#count
  }

  add(): void {
    this.#count++
  }

  [Symbol.dispose](): void {}
}
