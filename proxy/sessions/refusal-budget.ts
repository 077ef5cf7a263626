import { LRUCache } from 'lru-cache'
import type { Clock } from '../../protocols/kit/clock.ts'

/** Refusals of one person that are recorded one by one at once, and per second after that. */
const burstMax = 100
const perSecond = 1
const peopleMax = 10_000

interface Bucket {
  tokens: number
  atMs: number
  /** Refusals that were not recorded since the last one that was. */
  leftOut: number
}

/**
 * How many refusals of one person go into the audit: a client that tries again and again must not fill the spool, which would
 * keep everybody out. Returns a function that counts a refusal and says how many were left out before it, or
 * undefined if this one is left out as well (the log and the metrics have them all).
 */
export function createRefusalBudget(clock: Clock): (personId: string) => number | undefined {
  const buckets = new LRUCache<string, Bucket>({ max: peopleMax })
  return (personId) => {
    const nowMs = clock.monotonicMs()
    const bucket = buckets.get(personId) ?? { tokens: burstMax, atMs: nowMs, leftOut: 0 }
    bucket.tokens = Math.min(burstMax, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1_000)
    bucket.atMs = nowMs
    buckets.set(personId, bucket)
    if (bucket.tokens < 1) {
      bucket.leftOut += 1
      return undefined
    }
    bucket.tokens -= 1
    const { leftOut } = bucket
    bucket.leftOut = 0
    return leftOut
  }
}
