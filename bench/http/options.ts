import type { BenchSizes } from '../options.ts'

export interface BenchOptions {
  readonly rounds: number
  /** Of one run of one target. */
  readonly secondsPerRun: number
  readonly warmUpSeconds: number
  /** Requests a second in the measure of latency: well below what anybody takes. */
  readonly steadyPerSecond: number
  readonly webSockets: number
  readonly messagesPerWebSocket: number
  readonly idleWebSockets: number
  /** Revocations with one of each kind open. */
  readonly cutRounds: number
  /** Each of which must be in the audit. */
  readonly countedRequests: number
}

const whole: BenchOptions = {
  rounds: 5,
  secondsPerRun: 10,
  warmUpSeconds: 5,
  steadyPerSecond: 500,
  webSockets: 16,
  messagesPerWebSocket: 5_000,
  idleWebSockets: 500,
  cutRounds: 40,
  countedRequests: 100_000,
}
const quick: BenchOptions = {
  rounds: 3,
  secondsPerRun: 4,
  warmUpSeconds: 3,
  steadyPerSecond: 500,
  webSockets: 16,
  messagesPerWebSocket: 1_000,
  idleWebSockets: 300,
  cutRounds: 10,
  countedRequests: 10_000,
}

export const sizes: BenchSizes<BenchOptions> = { whole, quick }
