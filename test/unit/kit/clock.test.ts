import { afterEach, describe, expect, test, vi } from 'vitest'
import { sleep, startDeadline, systemClock } from '../../../protocols/kit/clock.ts'
import { createTestClock } from '../../test-clock.ts'

describe('the clock of tests', () => {
  test('stands still until it is moved', () => {
    const clock = createTestClock(1_000)
    expect([clock.wallMs(), clock.monotonicMs()]).toEqual([1_000, 0])
    clock.advance(250)
    expect([clock.wallMs(), clock.monotonicMs()]).toEqual([1_250, 250])
  })

  test('runs timers in the order they fall due, each at its own moment', () => {
    const clock = createTestClock()
    const ran: string[] = []
    const start = (name: string, delayMs: number) =>
      clock.startTimer(delayMs, () => ran.push(`${name}@${clock.monotonicMs()}`))
    start('late', 30)
    start('first', 10)
    start('second', 10)
    start('now', 0)
    start('past', -5)
    start('never', 31)
    clock.advance(30)
    expect(ran).toEqual(['now@0', 'past@0', 'first@10', 'second@10', 'late@30'])
    expect(clock.pendingTimers).toBe(1)
  })

  test('runs what a timer starts, if it falls due as well', () => {
    const clock = createTestClock()
    const ran: number[] = []
    const again = (): void => {
      ran.push(clock.monotonicMs())
      clock.startTimer(10, again)
    }
    clock.startTimer(10, again)
    clock.advance(35)
    expect(ran).toEqual([10, 20, 30])
  })

  test('does not run what was cancelled, also by another timer', () => {
    const clock = createTestClock()
    const ran: string[] = []
    const second = clock.startTimer(20, () => ran.push('second'))
    clock.startTimer(10, () => {
      ran.push('first')
      second.cancel()
    })
    clock.advance(100)
    expect(ran).toEqual(['first'])
    expect(clock.pendingTimers).toBe(0)
  })

  test('lets the wall clock jump without any time passing', () => {
    const clock = createTestClock(0)
    const ran: string[] = []
    clock.startTimer(10, () => ran.push('x'))
    clock.skewWall(-3_600_000)
    expect([clock.wallMs(), clock.monotonicMs(), ran]).toEqual([-3_600_000, 0, []])
    expect(() => clock.advance(-1)).toThrow('does not go back')
  })
})

describe('sleep', () => {
  test('resolves when its time has come', async () => {
    const clock = createTestClock()
    let done = false
    const sleeping = sleep(clock, 100).then(() => (done = true))
    clock.advance(99)
    await Promise.resolve()
    expect(done).toBe(false)
    clock.advance(1)
    await sleeping
    expect(done).toBe(true)
  })

  test('rejects with the reason of the abort and leaves no timer', async () => {
    const clock = createTestClock()
    const controller = new AbortController()
    const sleeping = sleep(clock, 100, controller.signal)
    controller.abort(new Error('stopped'))
    await expect(sleeping).rejects.toThrow('stopped')
    expect(clock.pendingTimers).toBe(0)
    await expect(sleep(clock, 100, controller.signal)).rejects.toThrow('stopped')
    expect(clock.pendingTimers).toBe(0)
  })
})

describe('a deadline', () => {
  test('aborts when its time has come, unless it was cancelled', () => {
    const clock = createTestClock()
    const [kept, cancelled] = [startDeadline(clock, 100), startDeadline(clock, 100)]
    clock.advance(99)
    cancelled.cancel()
    expect(kept.signal.aborted).toBe(false)
    clock.advance(1)
    expect(kept.signal.reason).toMatchObject({ name: 'TimeoutError' })
    expect(cancelled.signal.aborted).toBe(false)
    expect(clock.pendingTimers).toBe(0)
  })
})

describe('the clock of the system', () => {
  afterEach(() => vi.useRealTimers())

  test('never runs a timer early', async () => {
    for (const delayMs of [0, 1, 1.5, 7.3]) {
      const startMs = systemClock.monotonicMs()
      await new Promise<void>((resolve) => systemClock.startTimer(delayMs, resolve))
      expect(systemClock.monotonicMs() - startMs).toBeGreaterThanOrEqual(delayMs)
    }
  })

  test('waits longer than one timeout of the runtime can', () => {
    vi.useFakeTimers()
    const monthMs = 31 * 86_400_000
    const run = vi.fn<() => void>()
    systemClock.startTimer(monthMs, run)
    vi.advanceTimersByTime(monthMs - 1)
    expect(run).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(run).toHaveBeenCalledTimes(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('cancels also what it has chained', () => {
    vi.useFakeTimers()
    const monthMs = 31 * 86_400_000
    const run = vi.fn<() => void>()
    const timer = systemClock.startTimer(monthMs, run)
    vi.advanceTimersByTime(monthMs - 1_000)
    timer.cancel()
    vi.advanceTimersByTime(monthMs)
    expect(run).not.toHaveBeenCalled()
    expect(vi.getTimerCount()).toBe(0)
  })
})
