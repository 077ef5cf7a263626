import { expect, test } from 'vitest'
import { createRateLimit } from '../../../control/server/rate-limit.ts'
import { createTestClock } from '../../test-clock.ts'

const options = { perAddressMax: 3, overallMax: 10, windowMs: 60_000 }

function attempts(count: (address: string) => void, addresses: string[]): boolean[] {
  return addresses.map((address) => {
    try {
      count(address)
      return true
    } catch (error) {
      expect(error).toMatchObject({ code: 'rate-limited' })
      return false
    }
  })
}

test('an address has its share, which comes back with time', () => {
  const clock = createTestClock()
  const count = createRateLimit({ clock, ...options })
  expect(attempts(count, ['10.0.0.1', '10.0.0.1', '10.0.0.1', '10.0.0.1'])).toEqual([
    ...[true, true, true, false],
  ])
  expect(attempts(count, ['10.0.0.2'])).toEqual([true])
  clock.advance(20_000)
  expect(attempts(count, ['10.0.0.1', '10.0.0.1'])).toEqual([true, false])
})

test('many addresses share what there is overall', () => {
  const count = createRateLimit({ clock: createTestClock(), ...options })
  const addresses = Array.from({ length: 12 }, (_, index) => `10.0.1.${index}`)
  expect(attempts(count, addresses).filter((passed) => passed)).toHaveLength(10)
})

test('a /64 of IPv6 is one address, however it is written', () => {
  const count = createRateLimit({ clock: createTestClock(), ...options })
  const same = ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', '2001:0db8:0000:0001::3']
  expect(attempts(count, [...same, '2001:db8:0:1::4'])).toEqual([true, true, true, false])
  expect(attempts(count, ['2001:db8:0:2::1', '::1', '::ffff:10.0.0.1'])).toEqual([
    ...[true, true, true],
  ])
})
