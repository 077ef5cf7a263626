/**
 * What time control has, told from what it says and from the monotonic clock: so that a local wall clock
 * that is wrong, or set while we run, is noticed at once and not at the next message.
 */
import type { Clock } from '../../protocols/kit/clock.ts'

/** A proxy whose clock is further off opens no sessions (design, invariant 1). */
export const skewMsMax = 2_000
/** Messages looked back at; one comes every second. */
const samplesMax = 16

export interface ControlClock {
  /** Control said that its time is `controlTimeMs`, in a message that just arrived. */
  sample(controlTimeMs: number): void
  /** Control's time now, Unix ms; undefined until it said so since the start. */
  nowMs(): number | undefined
  /** Control's time minus ours; 0 while unknown. */
  skewMs(): number
  /** Time until a moment by the stricter of the two clocks: never longer than either says. */
  leftMs(momentMs: number): number
  /** Time since a moment by the stricter of the two clocks: never shorter than either says. */
  ageMs(momentMs: number): number
  /** Another control may have another clock: forget the samples. */
  reset(): void
}

export function createControlClock(clock: Clock): ControlClock {
  /** Control's time minus our monotonic time, as of each message. */
  const samples: number[] = []
  const nowMs = (): number | undefined =>
    // A message is always late, never early: the largest sample is the one that travelled least.
    samples.length === 0 ? undefined : Math.max(...samples) + clock.monotonicMs()
  return {
    sample(controlTimeMs) {
      samples.push(controlTimeMs - clock.monotonicMs())
      if (samples.length > samplesMax) samples.shift()
    },
    nowMs,
    skewMs: () => (nowMs() ?? clock.wallMs()) - clock.wallMs(),
    leftMs: (momentMs) => momentMs - Math.max(clock.wallMs(), nowMs() ?? -Infinity),
    ageMs: (momentMs) => Math.max(clock.wallMs(), nowMs() ?? -Infinity) - momentMs,
    reset: () => void samples.splice(0),
  }
}
