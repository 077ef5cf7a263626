import type { BenchSizes } from '../options.ts'

export interface BenchOptions {
  readonly rounds: number
  /** What goes one way in one run. */
  readonly bulkBytes: number
  readonly keystrokes: number
  /** Sessions opened and closed in a round, so many at a time. */
  readonly sessions: number
  readonly idleSessions: number
}

const mebibyte = 1024 * 1024
const whole: BenchOptions = {
  rounds: 5,
  bulkBytes: 512 * mebibyte,
  keystrokes: 2_000,
  sessions: 80,
  idleSessions: 150,
}
const quick: BenchOptions = {
  rounds: 3,
  bulkBytes: 64 * mebibyte,
  keystrokes: 400,
  sessions: 24,
  idleSessions: 40,
}

export const sizes: BenchSizes<BenchOptions> = { whole, quick }

/** At a time, in the measure of sessions per second. */
export const sessionsAtOnce = 4
