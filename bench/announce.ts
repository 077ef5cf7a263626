import { systemClock } from '../protocols/kit/clock.ts'

const startedMs = systemClock.monotonicMs()

/** Prints a line about what is going on, with the seconds since the start. */
export function announce(line: string): void {
  const seconds = ((systemClock.monotonicMs() - startedMs) / 1_000).toFixed(1)
  console.log(`[${seconds.padStart(6)} s] ${line}`)
}
