import type { RoundSample } from '../statistics.ts'
import type { BenchOptions } from './options.ts'
import { runPgbench, type QueryMode } from './pgbench.ts'
import { cpuUs } from '../process-usage.ts'
import type { Target, TargetName } from './targets.ts'

export interface ThroughputSample extends RoundSample<TargetName> {
  readonly mode: QueryMode
  readonly clients: number
  readonly transactions: number
  readonly transactionsPerSecond: number
  /** Of the process in the middle; undefined for direct. */
  readonly cpuUsPerTransaction: number | undefined
  /** Of control, which stores and indexes what the proxy ships; sallyport only. */
  readonly controlCpuUsPerTransaction: number | undefined
}

export const shapes: readonly { mode: QueryMode; clients: number }[] = [
  { mode: 'simple', clients: 1 },
  { mode: 'simple', clients: 16 },
  { mode: 'prepared', clients: 1 },
  { mode: 'prepared', clients: 16 },
]

/** Puts a target under load for a while, in both modes. */
export async function warmUp({ environment }: Target, seconds: number): Promise<void> {
  for (const mode of ['simple', 'prepared'] as const) {
    await runPgbench(environment, mode, 16, Math.ceil(seconds / 2))
  }
}

/**
 * Rounds are interleaved: each target once in each round, beginning with another one each time, so that what the machine does
 * besides hits all of them. A run starts when control has dealt with the one before: its work is not the peer's.
 */
export async function measureThroughput(
  targets: readonly Target[],
  controlPid: number,
  /** Resolves when control has stored and indexed everything. */
  settled: () => Promise<unknown>,
  options: BenchOptions,
  announce: (line: string) => void,
): Promise<ThroughputSample[]> {
  const samples: ThroughputSample[] = []
  await settled()
  for (let round = 0; round < options.rounds; round += 1) {
    for (const { mode, clients } of shapes) {
      if (clients === 1 && round >= options.singleClientRounds) continue
      for (let index = 0; index < targets.length; index += 1) {
        const target = targets[(index + round) % targets.length]!
        const pid = target.pid()
        const before = pid === undefined ? 0 : cpuUs(pid)
        const controlBefore = cpuUs(controlPid)
        const seconds = Math.floor(options.secondsPerRun / (clients === 1 ? 2 : 1))
        const run = await runPgbench(target.environment, mode, clients, seconds)
        const cpu = pid === undefined ? undefined : cpuUs(pid) - before
        const controlCpu = cpuUs(controlPid) - controlBefore
        // Control's work on it must not fall into a peer's run; the peers leave it none.
        if (target.name === 'sallyport') await settled()
        samples.push({
          ...{ round, target: target.name, mode, clients, ...run },
          cpuUsPerTransaction: cpu === undefined ? undefined : cpu / run.transactions,
          controlCpuUsPerTransaction:
            target.name === 'sallyport' ? controlCpu / run.transactions : undefined,
        })
        announce(
          `round ${round + 1}: ${mode} ${clients} ${target.name}: ${Math.round(run.transactionsPerSecond)} tx/s`,
        )
      }
    }
  }
  return samples
}
