import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import type { Limits } from '../../protocols/kit/limits.ts'

/** Settles at the next multiple of `refusalMs` after the arrival (monotonic ms), so that time tells nothing. */
export function untilRefusal(
  clock: Clock,
  { refusalMs }: Pick<Limits, 'refusalMs'>,
  arrivedMs: number,
): Promise<void> {
  const elapsedMs = clock.monotonicMs() - arrivedMs
  const rounds = Math.max(1, Math.ceil(elapsedMs / refusalMs))
  return sleep(clock, rounds * refusalMs - elapsedMs)
}
