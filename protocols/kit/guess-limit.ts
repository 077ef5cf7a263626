/** Counts failed attempts by address, so that nobody guesses at leisure. Who fails seldom never meets it. */
import type { Clock } from './clock.ts'
import { SallyportError } from './errors.ts'
import { networkOf } from './network-of.ts'

export interface GuessLimitOptions {
  readonly clock: Clock
  /** Failures of one address (of a /64 for IPv6) per `windowMs`. */
  readonly perAddressMax: number
  readonly windowMs: number
  /** What is counted, for the words. Default: "from your address". */
  readonly what?: string
}

export interface GuessLimit {
  /** Throws `rate-limited` while an address has failed too often: then nothing it shows is looked at. */
  require(address: string): void
  failed(address: string): void
}

const addressesMax = 10_000

export function createGuessLimit(options: GuessLimitOptions): GuessLimit {
  const { clock, perAddressMax, windowMs, what = 'from your address' } = options
  /** In the order of the last failure. */
  const failures = new Map<string, { count: number; atMs: number }>()

  const countOf = (key: string): number => {
    const entry = failures.get(key)
    if (entry === undefined) return 0
    const forgiven = ((clock.monotonicMs() - entry.atMs) * perAddressMax) / windowMs
    return Math.max(0, entry.count - forgiven)
  }
  return {
    require(address) {
      const key = networkOf(address)
      if (countOf(key) <= perAddressMax - 1) return
      throw new SallyportError('rate-limited', `too many failed attempts: ${key}`, {
        clientMessage: `too many failed attempts ${what}`,
        hint: `wait ${Math.ceil(windowMs / 1_000)} seconds`,
      })
    },
    failed(address) {
      const key = networkOf(address)
      const count = countOf(key) + 1
      failures.delete(key)
      failures.set(key, { count, atMs: clock.monotonicMs() })
      if (failures.size > addressesMax) failures.delete(failures.keys().next().value!)
    },
  }
}
