import { LRUCache } from 'lru-cache'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { networkOf } from '../../protocols/kit/network-of.ts'

export interface RateLimitOptions {
  readonly clock: Clock
  /** Calls of one address, and of all together, per `windowMs`. */
  readonly perAddressMax: number
  readonly overallMax: number
  readonly windowMs: number
}

interface Bucket {
  left: number
  atMs: number
}

const addressesMax = 10_000

/** Token buckets: returns a function that counts a call, and throws `rate-limited` when there were too many. */
export function createRateLimit(options: RateLimitOptions): (address: string) => void {
  const { clock, perAddressMax, overallMax, windowMs } = options
  const buckets = new LRUCache<string, Bucket>({ max: addressesMax })
  const overall: Bucket = { left: overallMax, atMs: clock.monotonicMs() }

  const refill = (bucket: Bucket, max: number): void => {
    const atMs = clock.monotonicMs()
    bucket.left = Math.min(max, bucket.left + ((atMs - bucket.atMs) * max) / windowMs)
    bucket.atMs = atMs
  }
  return (address) => {
    const key = networkOf(address)
    const bucket = buckets.get(key) ?? { left: perAddressMax, atMs: clock.monotonicMs() }
    buckets.set(key, bucket)
    refill(bucket, perAddressMax)
    refill(overall, overallMax)
    if (bucket.left < 1 || overall.left < 1) {
      throw new SallyportError('rate-limited', `too many calls from ${key}`, {
        clientMessage: 'too many attempts',
        hint: `wait ${Math.ceil(windowMs / 1_000)} seconds`,
      })
    }
    bucket.left -= 1
    overall.left -= 1
  }
}
