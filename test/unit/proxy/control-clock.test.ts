import { describe, expect, test } from 'vitest'
import { createControlClock, skewMsMax } from '../../../proxy/control-link/control-clock.ts'
import { createTestClock } from '../../test-clock.ts'

/** Control's clock is `aheadMs` ahead of ours, and messages take as long as a test says. */
function createWorld(aheadMs = 0) {
  const clock = createTestClock()
  const control = createControlClock(clock)
  let setMs = aheadMs
  const controlMs = () => Math.floor(clock.wallMs() + setMs)
  return {
    clock,
    control,
    /** A message that nobody asked for. */
    tell: (lateMs: number): void => {
      const saidMs = controlMs()
      clock.advance(lateMs)
      control.sample(saidMs)
    },
    ask: (thereMs: number, backMs: number): void => {
      const askedAtMs = clock.monotonicMs()
      clock.advance(thereMs)
      const saidMs = controlMs()
      clock.advance(backMs)
      control.sample(saidMs, askedAtMs)
    },
    setControl: (ms: number): void => {
      setMs += ms
    },
    isRefused: () => Math.abs(control.skewMs()) > skewMsMax,
  }
}

describe('what is no wrong clock', () => {
  test('messages that are late, however many', () => {
    const { tell, ask, control } = createWorld()
    tell(30_000)
    expect(control.skewMs()).toBe(0)
    ask(1, 1)
    for (let count = 0; count < 100; count++) {
      tell(4_000)
      expect(control.skewMs()).toBe(0)
    }
  })

  test.each([
    ['there', 20_000, 1],
    ['back', 1, 20_000],
    ['both ways', 9_000, 9_000],
  ])('answers that were slow %s', (_which, thereMs, backMs) => {
    const { ask, control } = createWorld()
    for (let count = 0; count < 20; count++) {
      ask(thereMs, backMs)
      expect(control.skewMs()).toBe(0)
    }
  })

  test('a clock that is a little wrong, whatever way messages take', () => {
    for (const aheadMs of [-1_900, 1_900]) {
      const { ask, tell, isRefused } = createWorld(aheadMs)
      for (const [thereMs, backMs] of [
        [0, 0],
        [5_000, 1],
        [1, 5_000],
      ] as const) {
        ask(thereMs, backMs)
        tell(8_000)
        expect(isRefused()).toBe(false)
      }
    }
  })

  test('wall clocks that are slewed, with one round trip an hour', () => {
    const { clock, tell, ask, control } = createWorld()
    ask(1, 1)
    for (let second = 0; second < 7_200; second++) {
      clock.advance(1_000)
      clock.skewWall(0.3)
      if (second % 3_600 === 3_599) ask(1, 1)
      else tell(0)
      // From the monotonic clock; ours and control's agree, and neither is taken for one that was set.
      expect(control.skewMs()).toBe(0)
    }
  })
})

describe('what is one', () => {
  test.each([
    ['ahead', 60_000],
    ['behind', -60_000],
  ])('control’s clock is a minute %s', (_which, aheadMs) => {
    const { ask, control, isRefused } = createWorld(aheadMs)
    ask(900, 5)
    expect(isRefused()).toBe(true)
    expect(Math.abs(control.skewMs() - aheadMs)).toBeLessThan(1_000)
    // A busy time does not hide it.
    for (let count = 0; count < 50; count++) ask(9_000, 9_000)
    expect(isRefused()).toBe(true)
  })

  test('just past what is tolerated, with short ways', () => {
    for (const aheadMs of [-2_010, 2_010]) {
      const { ask, isRefused } = createWorld(aheadMs)
      ask(2, 2)
      expect(isRefused()).toBe(true)
    }
  })

  test('control is ahead, and says so before anything was asked', () => {
    const { tell, isRefused } = createWorld(60_000)
    tell(500)
    expect(isRefused()).toBe(true)
  })

  test.each([-120_000, 120_000])('our clock is set by %d ms, and back', (ms) => {
    const { clock, ask, isRefused } = createWorld()
    ask(3, 3)
    clock.skewWall(ms)
    // At once, without another message.
    expect(isRefused()).toBe(true)
    clock.skewWall(-ms)
    expect(isRefused()).toBe(false)
  })

  test.each([-120_000, 120_000])('control’s clock is set by %d ms, and back', (ms) => {
    const { ask, setControl, isRefused } = createWorld()
    for (let count = 0; count < 20; count++) ask(1, 1)
    setControl(ms)
    ask(700, 1)
    expect(isRefused()).toBe(true)
    setControl(-ms)
    ask(700, 1)
    expect(isRefused()).toBe(false)
  })

  test('this machine slept: its monotonic clock stood still', () => {
    const { clock, ask, tell, isRefused, setControl } = createWorld()
    ask(1, 1)
    // Both wall clocks went on by an hour.
    clock.skewWall(3_600_000)
    expect(isRefused()).toBe(true)
    tell(5)
    expect(isRefused()).toBe(false)
    setControl(-60_000)
    ask(1, 1)
    expect(isRefused()).toBe(true)
  })
})

test('control’s time is never told later than it is', () => {
  const { clock, ask, tell, control } = createWorld(1_000)
  expect(control.nowMs()).toBeUndefined()
  ask(40, 30)
  expect(control.nowMs()).toBe(clock.wallMs() + 1_000 - 30)
  tell(10)
  expect(control.nowMs()).toBe(clock.wallMs() + 1_000 - 10)
  tell(500)
  expect(control.nowMs()).toBeLessThanOrEqual(clock.wallMs() + 1_000)
  expect(control.nowMs()).toBeGreaterThan(clock.wallMs() + 1_000 - 11)
  control.reset()
  expect(control.nowMs()).toBeUndefined()
  expect(control.skewMs()).toBe(0)
})
