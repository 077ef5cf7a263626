import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly json: boolean
  readonly rounds: number
  /** Of these, the first so many also measure a single client. */
  readonly singleClientRounds: number
  /** With 16 clients; with one it is half of it. */
  readonly secondsPerRun: number
  /** Under load before anything is measured: a proxy in service has long compiled what it runs. */
  readonly warmUpSeconds: number
  readonly connectsPerRound: number
  readonly idleSessions: number
  readonly cutSessions: number
  readonly cutRounds: number
  readonly uniqueStatements: number
}

const whole: Omit<BenchOptions, 'json'> = {
  rounds: 5,
  singleClientRounds: 5,
  secondsPerRun: 5,
  warmUpSeconds: 10,
  connectsPerRound: 40,
  idleSessions: 500,
  cutSessions: 1_000,
  cutRounds: 5,
  uniqueStatements: 20_000,
}
/** Within three minutes. */
const quick: Omit<BenchOptions, 'json'> = {
  ...whole,
  rounds: 3,
  singleClientRounds: 1,
  secondsPerRun: 3,
  warmUpSeconds: 6,
  connectsPerRound: 15,
  idleSessions: 200,
  cutRounds: 1,
  uniqueStatements: 4_000,
}

export const benchUsage = `usage: npm run bench:postgres -- [--quick] [--json]

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
