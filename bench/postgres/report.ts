import { execFileSync } from 'node:child_process'
import { createReport, type FigureRow, type Report } from '../report.ts'
import { figureOf, medianOf, ratioOfRounds } from '../statistics.ts'
import type { Completeness } from './completeness.ts'
import type { CutSample } from './cuts.ts'
import { pgbouncerProgram } from './pgbouncer.ts'
import type { TargetName } from './targets.ts'
import { shapes, type ThroughputSample } from './throughput.ts'

export interface Measured {
  readonly throughput: readonly ThroughputSample[]
  readonly connectMs: ReadonlyMap<TargetName, readonly number[]>
  readonly memoryKb: Readonly<Record<'pgbouncer' | 'sallyport', number>>
  readonly revocations: readonly CutSample[]
  readonly expiries: readonly CutSample[]
  readonly completeness: Completeness
  /** Of all runs of pgbench through the proxy. */
  readonly pgbench: Completeness
}

export function reportOf(measured: Measured): Report<TargetName> {
  const figures: Record<string, FigureRow<TargetName>> = {}
  const ratios: Record<string, number> = {}
  for (const { mode, clients } of shapes) {
    const samples = measured.throughput.filter(
      (sample) => sample.mode === mode && sample.clients === clients,
    )
    const shape = `${mode}_${clients}`
    figures[`throughput_${shape}`] = perTarget(
      samples,
      'tx/s',
      (each) => each.transactionsPerSecond,
    )
    figures[`cpu_per_transaction_${shape}`] = perTarget(
      samples,
      'µs',
      (each) => each.cpuUsPerTransaction,
    )
    figures[`control_cpu_per_transaction_${shape}`] = perTarget(
      samples,
      'µs',
      (each) => each.controlCpuUsPerTransaction,
    )
    const throughput = (each: ThroughputSample): number => each.transactionsPerSecond
    ratios[`throughput_vs_pgbouncer_${shape}`] = ratioOfRounds(
      samples,
      'sallyport',
      'pgbouncer',
      throughput,
    )
    ratios[`throughput_vs_direct_${shape}`] = ratioOfRounds(
      samples,
      'sallyport',
      'direct',
      throughput,
    )
    ratios[`cpu_per_transaction_vs_pgbouncer_${shape}`] = ratioOfRounds(
      samples,
      'sallyport',
      'pgbouncer',
      (each) => each.cpuUsPerTransaction!,
    )
  }
  // The shape that the budget names, also under the short name.
  ratios['cpu_per_transaction_vs_pgbouncer'] =
    ratios['cpu_per_transaction_vs_pgbouncer_prepared_16']!
  const connect = measured.connectMs
  figures['connect'] = {
    unit: 'ms',
    ...Object.fromEntries([...connect].map(([name, values]) => [name, figureOf(values)])),
  }
  const direct = medianOf(connect.get('direct')!)
  ratios['connect_ms_over_direct'] = medianOf(connect.get('sallyport')!) - direct
  ratios['connect_ms_over_direct_pgbouncer'] = medianOf(connect.get('pgbouncer')!) - direct
  figures['memory_per_idle_session'] = {
    unit: 'kB',
    pgbouncer: figureOf([measured.memoryKb.pgbouncer]),
    sallyport: figureOf([measured.memoryKb.sallyport]),
  }
  ratios['memory_kb_per_idle_session'] = measured.memoryKb.sallyport
  for (const [what, samples] of [
    ['revocation', measured.revocations],
    ['expiry', measured.expiries],
  ] as const) {
    for (const count of new Set(samples.map(({ sessions }) => sessions))) {
      const these = samples.filter(({ sessions }) => sessions === count)
      const seen = figureOf(these.map((each) => each.seenByClientsMs))
      const audited = figureOf(these.map((each) => each.inTheAuditMs))
      figures[`${what}_to_last_byte_${count}`] = { unit: 'ms', sallyport: seen }
      figures[`${what}_to_last_byte_in_audit_${count}`] = { unit: 'ms', sallyport: audited }
      const gone = figureOf(these.map((each) => each.backendsGoneMs))
      figures[`${what}_to_backends_gone_${count}`] = { unit: 'ms', sallyport: gone }
      ratios[`${what}_ms_${count}`] = seen.median
    }
  }
  ratios['completeness'] = measured.completeness.stored / measured.completeness.sent
  ratios['completeness_pgbench'] = measured.pgbench.stored / measured.pgbench.sent
  return createReport(figures, ratios, {
    pgbench: firstLine('pgbench'),
    pgbouncer: firstLine(pgbouncerProgram),
  })
}

function perTarget(
  samples: readonly ThroughputSample[],
  unit: string,
  of: (sample: ThroughputSample) => number | undefined,
): FigureRow<TargetName> {
  const figures: FigureRow<TargetName> = { unit }
  for (const name of new Set(samples.map(({ target }) => target))) {
    const values = samples.filter(({ target }) => target === name).map(of)
    const known = values.filter((value) => value !== undefined)
    if (known.length > 0) figures[name] = figureOf(known)
  }
  return figures
}

function firstLine(command: string): string {
  return execFileSync(command, ['--version'], { encoding: 'utf8' }).split('\n')[0]!
}
