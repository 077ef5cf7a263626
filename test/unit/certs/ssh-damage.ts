import { expect } from 'vitest'
import { SallyportError } from '../../../protocols/kit/errors.ts'

/** Every truncation, and every flip of one bit; or of each `step`th, where judging one takes long. */
export function* everyDamage(whole: Buffer, step = 1): Generator<Buffer> {
  for (let length = 0; length < whole.length; length++) yield whole.subarray(0, length)
  for (let bit = 0; bit < whole.length * 8; bit += step) {
    const flipped = Buffer.from(whole)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    yield flipped
  }
}

/** Each is taken by `take` or refused with an error of ours; nothing else may come of it. Returns how many were refused. */
export function expectOnlyRefusals(
  blobs: Iterable<Buffer>,
  take: (blob: Buffer) => void,
): { refused: number; taken: number } {
  const counts = { refused: 0, taken: 0 }
  for (const blob of blobs) {
    try {
      take(blob)
      counts.taken += 1
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error
      counts.refused += 1
    }
  }
  expect(counts.refused).toBeGreaterThan(0)
  return counts
}
