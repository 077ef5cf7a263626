import { canInstall, installCommand, installPackages } from '../deploy/install-packages.ts'
import { preparePackages } from '../deploy/prepare-packages.ts'
import { announce } from './announce.ts'
import { benchUsage, readBenchOptions, type BenchSizes } from './options.ts'
import { tableOf, type Report } from './report.ts'

/** One benchmark: what differs between them. */
export interface Bench<Options, Target extends string> {
  /** As in `npm run bench:<name>`. */
  readonly name: string
  /** In the order of the table. */
  readonly targets: readonly Target[]
  readonly sizes: BenchSizes<Options>
  /** Debian packages that are not there yet. */
  missing(): string[]
  /** `complete`: nothing that was sent is missing from the audit. */
  measure(options: Options): Promise<{ report: Report<Target>; complete: boolean }>
}

/** Runs a benchmark with the arguments of this process, prints its report, and returns the exit code. */
export async function runBench<Options, Target extends string>(
  bench: Bench<Options, Target>,
): Promise<number> {
  let read: ReturnType<typeof readBenchOptions<Options>>
  try {
    read = readBenchOptions(process.argv.slice(2), bench.sizes)
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${benchUsage(bench.name)}`)
    return 2
  }
  preparePackages(announce)
  const missing = bench.missing()
  if (missing.length > 0 && !(canInstall() && installPackages(missing))) {
    console.error(`the benchmark needs more programs: ${installCommand(missing)}`)
    return 1
  }
  const { report, complete } = await bench.measure(read.options)
  console.log(tableOf(report, bench.targets))
  if (read.json) console.log(JSON.stringify(report))
  return complete ? 0 : 1
}
