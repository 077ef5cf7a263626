/**
 * Watches the time of one session: its end, the warnings before it, and idleness. All deadlines run on the monotonic
 * clock; when one is set, the stricter of the wall clock and control's decides how far away it is.
 */
import { formatDuration } from '../../control/api/duration.ts'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import type { ControlClock } from '../control-link/control-clock.ts'

export interface MonitorOptions {
  readonly clock: Clock
  readonly controlClock: ControlClock
  readonly onExpired: () => void
  readonly onIdle: (idleMs: number) => void
  /** A warning is due: so long before the end, ms. */
  readonly onWarning: (leftMs: number) => void
  /** When a byte last passed either way, monotonic ms. */
  readonly lastTrafficMs: () => number
}

export interface Monitor {
  /** Sets or moves the end, Unix ms. Cuts at once if it has passed. */
  setEnd(expiresAtMs: number): void
  /** Moments before the end to warn at, ms. */
  setWarnings(beforeMs: readonly number[]): void
  /** 0: never. */
  setIdle(idleMs: number): void
  /** Warnings and idleness begin: the person is in. */
  opened(): void
  /** The wall clock jumped: the end may come nearer by it, never go further away. */
  clockJumped(): void
  /** Monotonic ms. */
  readonly endMonotonicMs: number
  stop(): void
}

export function createMonitor(options: MonitorOptions): Monitor {
  const { clock, controlClock } = options
  let expiresAtMs = Infinity
  let endMonotonicMs = Infinity
  let warnings: readonly number[] = []
  let idleMs = 0
  let isOpen = false
  let stopped = false
  let endTimer: Timer | undefined
  let warningTimer: Timer | undefined
  let idleTimer: Timer | undefined

  const armEnd = (atMonotonicMs: number): void => {
    if (stopped) return
    endTimer?.cancel()
    endMonotonicMs = atMonotonicMs
    const leftMs = endMonotonicMs - clock.monotonicMs()
    if (leftMs <= 0) options.onExpired()
    else endTimer = clock.startTimer(leftMs, options.onExpired)
    armWarning()
  }

  function armWarning(): void {
    warningTimer?.cancel()
    if (stopped || !isOpen) return
    const leftMs = endMonotonicMs - clock.monotonicMs()
    // The earliest that is still to come; those that have passed are not made up for.
    const beforeMs = Math.max(...warnings.filter((each) => each < leftMs), -Infinity)
    if (!Number.isFinite(beforeMs) || !Number.isFinite(leftMs)) return
    warningTimer = clock.startTimer(leftMs - beforeMs, () => {
      options.onWarning(beforeMs)
      armWarning()
    })
  }

  function armIdle(): void {
    idleTimer?.cancel()
    if (stopped || !isOpen || idleMs === 0) return
    const leftMs = options.lastTrafficMs() + idleMs - clock.monotonicMs()
    // Traffic moves no timer (there is too much of it): the timer looks again when it fires.
    if (leftMs <= 0) options.onIdle(idleMs)
    else idleTimer = clock.startTimer(leftMs, armIdle)
  }

  const endFromClocks = (): number => clock.monotonicMs() + controlClock.leftMs(expiresAtMs)

  return {
    setEnd(atMs) {
      expiresAtMs = atMs
      armEnd(endFromClocks())
    },
    setWarnings(beforeMs) {
      warnings = beforeMs
      armWarning()
    },
    setIdle(ms) {
      idleMs = ms
      armIdle()
    },
    opened() {
      isOpen = true
      armWarning()
      armIdle()
    },
    clockJumped: () => armEnd(Math.min(endMonotonicMs, endFromClocks())),
    get endMonotonicMs() {
      return endMonotonicMs
    },
    stop() {
      stopped = true
      endTimer?.cancel()
      warningTimer?.cancel()
      idleTimer?.cancel()
    },
  }
}

/** The line that a person sees before the end. */
export function warningLine(resource: string, grantId: string, leftMs: number): string {
  return (
    `your access to "${resource}" ends in ${formatDuration(leftMs)}; ` +
    `to go on without a break: sally extend ${grantId} --for 30m --reason TEXT`
  )
}
