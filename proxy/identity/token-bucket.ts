import type { Clock } from '../../protocols/kit/clock.ts'

/** So much at once, and so much per second after that: returns what takes one, false where there is none left. */
export function createTokenBucket(
  clock: Pick<Clock, 'monotonicMs'>,
  burst: number,
  perSecond: number,
): () => boolean {
  let left = burst
  let atMs = clock.monotonicMs()
  return () => {
    const nowMs = clock.monotonicMs()
    left = Math.min(burst, left + ((nowMs - atMs) * perSecond) / 1_000)
    atMs = nowMs
    if (left < 1) return false
    left -= 1
    return true
  }
}
