import type { Clock } from '../../kit/clock.ts'
import type { HttpTerms } from '../../session.ts'
import { HttpRefusal } from '../wire/refusal.ts'

/** Kept by a session: how many requests are open, and how many began in this minute. */
export const counterKey = Symbol('requests of a session')

export class RequestCounter implements Disposable {
  readonly #clock: Clock
  readonly #limits: HttpTerms['limits']
  #open = 0
  #minute = -1
  #begun = 0

  constructor(clock: Clock, limits: HttpTerms['limits']) {
    this.#clock = clock
    this.#limits = limits
  }

  /** Throws `HttpRefusal` 429 past a limit; otherwise `leave` must follow. */
  enter(): void {
    const minute = Math.floor(this.#clock.monotonicMs() / 60_000)
    if (minute !== this.#minute) {
      this.#minute = minute
      this.#begun = 0
    }
    if (this.#open >= this.#limits.requestsMax) {
      throw new HttpRefusal(429, 'limit-reached', 'too many requests of yours are open here', {
        hint: 'Wait for some of them to end.',
      })
    }
    if (this.#limits.perMinuteMax > 0 && this.#begun >= this.#limits.perMinuteMax) {
      throw new HttpRefusal(429, 'rate-limited', 'too many requests in this minute', {
        hint: 'Try again in a minute.',
      })
    }
    this.#open++
    this.#begun++
  }

  leave(): void {
    this.#open--
  }

  [Symbol.dispose](): void {}
}
