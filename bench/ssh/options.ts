import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly json: boolean
  readonly rounds: number
  /** What goes one way in one run. */
  readonly bulkBytes: number
  readonly keystrokes: number
  /** Sessions opened and closed in a round, so many at a time. */
  readonly sessions: number
  readonly idleSessions: number
}

const mebibyte = 1024 * 1024
const whole: Omit<BenchOptions, 'json'> = {
  rounds: 5,
  bulkBytes: 512 * mebibyte,
  keystrokes: 2_000,
  sessions: 80,
  idleSessions: 150,
}
/** Within three minutes. */
const quick: Omit<BenchOptions, 'json'> = {
  rounds: 3,
  bulkBytes: 64 * mebibyte,
  keystrokes: 400,
  sessions: 24,
  idleSessions: 40,
}

/** At a time, in the measure of sessions per second. */
export const sessionsAtOnce = 4

export const benchUsage = `usage: npm run bench:ssh -- [--quick] [--json]

  --quick   within three minutes: fewer and shorter rounds
  --json    the last line is one JSON object: machine, figures, ratios`

/** Throws an Error whose message is for the person. */
export function readBenchOptions(parameters: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...parameters],
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  })
  return { ...(values.quick ? quick : whole), json: values.json }
}
