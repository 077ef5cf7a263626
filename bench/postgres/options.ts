import type { BenchSizes } from '../options.ts'

export interface BenchOptions {
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

const whole: BenchOptions = {
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
const quick: BenchOptions = {
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

export const sizes: BenchSizes<BenchOptions> = { whole, quick }
