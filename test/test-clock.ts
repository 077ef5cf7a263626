import type { Clock, Timer } from '../protocols/kit/clock.ts'

export interface TestClock extends Clock {
  /** Moves both clocks on by `ms` and runs each timer that falls due, in order, at its own moment. */
  advance(ms: number): void
  /** Makes the wall clock jump by `ms` (also backwards) without any monotonic time passing. */
  skewWall(ms: number): void
  /** Timers that were started and neither ran nor were cancelled. */
  readonly pendingTimers: number
}

interface Pending {
  readonly dueMs: number
  readonly order: number
  readonly run: () => void
}

/** A clock that stands still until a test moves it. `startWallMs` defaults to 2026-01-01T00:00:00Z. */
export function createTestClock(startWallMs = Date.UTC(2026, 0, 1)): TestClock {
  let wallOffsetMs = startWallMs
  let nowMs = 0
  let started = 0
  const timers = new Set<Pending>()

  const nextDue = (untilMs: number): Pending | undefined => {
    let next: Pending | undefined
    for (const timer of timers) {
      if (timer.dueMs > untilMs) continue
      if (
        next === undefined ||
        timer.dueMs < next.dueMs ||
        (timer.dueMs === next.dueMs && timer.order < next.order)
      ) {
        next = timer
      }
    }
    return next
  }

  return {
    wallMs: () => wallOffsetMs + nowMs,
    monotonicMs: () => nowMs,
    startTimer(delayMs: number, run: () => void): Timer {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), order: started++, run }
      timers.add(timer)
      return { cancel: () => void timers.delete(timer) }
    },
    advance(ms: number): void {
      if (ms < 0) throw new Error('monotonic time does not go back; use skewWall')
      const untilMs = nowMs + ms
      for (let timer = nextDue(untilMs); timer !== undefined; timer = nextDue(untilMs)) {
        timers.delete(timer)
        nowMs = Math.max(nowMs, timer.dueMs)
        timer.run()
      }
      nowMs = untilMs
    },
    skewWall(ms: number): void {
      wallOffsetMs += ms
    },
    get pendingTimers(): number {
      return timers.size
    },
  }
}
