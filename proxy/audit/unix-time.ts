import type { Clock } from '../../protocols/kit/clock.ts'

/** How often the wall clock is looked at; between, time is taken from the monotonic one. */
const anchorMs = 1_000

/** Unix microseconds for one reading of the monotonic clock. */
export class UnixTime {
  readonly #clock: Clock
  #anchorWallMs = 0
  #anchorMs = -Infinity

  constructor(clock: Clock) {
    this.#clock = clock
  }

  nowUs(): number {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#anchorMs >= anchorMs) {
      this.#anchorMs = nowMs
      this.#anchorWallMs = this.#clock.wallMs()
    }
    return Math.floor((this.#anchorWallMs + nowMs - this.#anchorMs) * 1000)
  }
}
