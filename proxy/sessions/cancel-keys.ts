/** Our own keys for cancel requests: a client that knows one may cancel what that session runs, and nothing else. */
import { createHash, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'

const keyBytes = 8
/** Cancels that one address may ask for at once, and per second after that. */
const burstMax = 50
const perSecond = 20
const addressesMax = 10_000

export interface CancelKeys {
  keep(cancel: () => void): Buffer
  forget(key: Buffer): void
  /** Runs the callback of the key, if there is one and the address has not asked too often. */
  run(key: Buffer, remoteAddress: string): void
}

export function createCancelKeys(clock: Clock, log: Log): CancelKeys {
  const callbacks = new Map<string, () => void>()
  const buckets = new LRUCache<string, { tokens: number; atMs: number }>({ max: addressesMax })

  const isAllowed = (address: string): boolean => {
    const nowMs = clock.monotonicMs()
    const bucket = buckets.get(address) ?? { tokens: burstMax, atMs: nowMs }
    bucket.tokens = Math.min(burstMax, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1_000)
    bucket.atMs = nowMs
    buckets.set(address, bucket)
    if (bucket.tokens < 1) return false
    bucket.tokens -= 1
    return true
  }
  return {
    keep(cancel) {
      let key = randomBytes(keyBytes)
      while (callbacks.has(digest(key))) key = randomBytes(keyBytes)
      callbacks.set(digest(key), cancel)
      return key
    },
    forget: (key) => void callbacks.delete(digest(key)),
    run(key, remoteAddress) {
      if (!isAllowed(remoteAddress)) {
        log.warn({ remoteAddress }, 'too many cancel requests; one was dropped')
        return
      }
      try {
        callbacks.get(digest(key))?.()
      } catch (error) {
        log.error({ error: String(error) }, 'a cancel failed')
      }
    },
  }
}

/** Looked up by digest, so that the time of a look-up says nothing about how much of a guess was right. */
function digest(key: Buffer): string {
  return createHash('sha256').update(key).digest('base64')
}
