import { expect, test } from 'vitest'
import { countRequests } from '../../../protocols/http/relay/request-counter.ts'
import type { Session } from '../../../protocols/session.ts'
import { createTestClock } from '../../test-clock.ts'

const kept = (): Pick<Session, 'keep'> => {
  const all = new Map<symbol, Disposable>()
  return {
    keep<T extends Disposable>(key: symbol, make: () => T): T {
      const found = (all.get(key) as T | undefined) ?? make()
      all.set(key, found)
      return found
    },
  }
}

function begun(count: number, enter: () => void): number {
  let passed = 0
  for (let index = 0; index < count; index++) {
    try {
      enter()
      passed++
    } catch (error) {
      expect(error).toMatchObject({ status: 429, code: 'rate-limited' })
    }
  }
  return passed
}

test('no moment lets more begin at once than a minute has, also not the edge between two', () => {
  const clock = createTestClock()
  const counter = countRequests(kept(), { requestsMax: 10_000, perMinuteMax: 60 }, clock)
  // Just before a minute of the clock is over.
  clock.advance(60_000 - (clock.monotonicMs() % 60_000) - 1)
  expect(begun(100, () => counter.enter())).toBe(60)
  clock.advance(2)
  expect(begun(100, () => counter.enter())).toBe(0)
  clock.advance(1_000)
  expect(begun(100, () => counter.enter())).toBe(1)
  clock.advance(3_600_000)
  expect(begun(100, () => counter.enter())).toBe(60)
})

test('sessions of one person share what they may begin in a minute', () => {
  const clock = createTestClock()
  const session = kept()
  const limits = { requestsMax: 10_000, perMinuteMax: 3 }
  const [one, other] = [
    countRequests(session, limits, clock),
    countRequests(session, limits, clock),
  ]
  expect(begun(2, () => one.enter()) + begun(5, () => other.enter())).toBe(3)
})
