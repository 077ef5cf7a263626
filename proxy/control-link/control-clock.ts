/**
 * What time control has, told from what it says and from the monotonic clock: so that a local wall clock
 * that is wrong, or set while we run, is noticed at once and not at the next message.
 *
 * A message says only that control's time was at least so much when it arrived: it may have been long on its way. The answer to a
 * question bounds it from above as well, for it was given after the question was sent (as in NTP, RFC 5905, section 8). What is left
 * is an interval, and only one that lies wholly outside of the tolerance is a wrong clock: a busy control or network is none.
 */
import type { Clock } from '../../protocols/kit/clock.ts'

/** A proxy whose clock is further off opens no sessions (design, invariant 1). */
export const skewMsMax = 2_000
/** What two clocks may drift apart, ms per ms: a wall clock that is slewed goes up to 500 ppm wrong (adjtimex). */
const drift = 500e-6
/** Control's moments are whole milliseconds, cut off. */
const grainMs = 1

export interface ControlClock {
  /**
   * Control said that its time was `controlTimeMs`, in a message that just arrived; if it is an answer, to a question that was sent
   * at `askedAtMs`, monotonic.
   */
  sample(controlTimeMs: number, askedAtMs?: number): void
  /** Control's time now, Unix ms, and never later than it is; undefined until it said so since the start. */
  nowMs(): number | undefined
  /** How much control's time minus ours is at least, by its distance from 0, ms; 0 while unknown or within what is not known. */
  skewMs(): number
  /** Time until a moment by the stricter of the two clocks: never longer than either says. */
  leftMs(momentMs: number): number
  /** Time since a moment by the stricter of the two clocks: never shorter than either says. */
  ageMs(momentMs: number): number
  /** Another control may have another clock: forget what this one said. */
  reset(): void
}

/** Between what control's time minus our monotonic time is, as of `atMs`. */
interface Offset {
  readonly leastMs: number
  readonly mostMs: number
  readonly atMs: number
}

export function createControlClock(clock: Clock): ControlClock {
  let known: Offset | undefined

  /** The interval grows with time, so that newer and longer round trips replace older and shorter ones. */
  const offset = (): Offset | undefined => {
    if (known === undefined) return undefined
    const atMs = clock.monotonicMs()
    const driftMs = (atMs - known.atMs) * drift
    return { leastMs: known.leastMs - driftMs, mostMs: known.mostMs + driftMs, atMs }
  }
  const nowMs = (): number | undefined => {
    const now = offset()
    return now && now.leastMs + now.atMs
  }
  return {
    sample(controlTimeMs, askedAtMs = -Infinity) {
      const atMs = clock.monotonicMs()
      const leastMs = controlTimeMs - atMs
      const mostMs = controlTimeMs + grainMs - askedAtMs
      const before = offset()
      // Both cannot be: control's clock was set meanwhile, or this machine slept. What it says now is true.
      const wasSet = before === undefined || leastMs > before.mostMs || mostMs < before.leastMs
      known = wasSet
        ? { leastMs, mostMs, atMs }
        : {
            leastMs: Math.max(leastMs, before.leastMs),
            mostMs: Math.min(mostMs, before.mostMs),
            atMs,
          }
    },
    nowMs,
    skewMs() {
      const now = offset()
      if (now === undefined) return 0
      const oursMs = clock.wallMs() - now.atMs
      if (now.leastMs > oursMs) return now.leastMs - oursMs
      return Math.min(0, now.mostMs - oursMs)
    },
    leftMs: (momentMs) => momentMs - Math.max(clock.wallMs(), nowMs() ?? -Infinity),
    ageMs: (momentMs) => Math.max(clock.wallMs(), nowMs() ?? -Infinity) - momentMs,
    reset: () => void (known = undefined),
  }
}
