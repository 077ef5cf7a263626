import type { Clock, Timer } from '../protocols/kit/clock.ts'

const pollMs = 1_000

/**
 * Calls `run` when npm, which started us, is gone without having told us (kill -9). Does nothing where a shell started us: with
 * its end, a program in the background is meant to go on.
 */
export function whenNpmEnds(clock: Clock, run: () => void): Timer {
  const parent = process.ppid
  let timer: Timer | undefined
  const look = (): void => {
    if (process.ppid === parent) timer = clock.startTimer(pollMs, look)
    else run()
  }
  if (process.env['npm_lifecycle_event'] !== undefined && parent !== 1) look()
  return { cancel: () => timer?.cancel() }
}
