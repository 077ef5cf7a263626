import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import type { Completeness } from './completeness.ts'
import type { CutSample } from './cuts.ts'
import { pgbouncerProgram } from './pgbouncer.ts'
import { figureOf, medianOf, type Figure } from './statistics.ts'
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

export interface Figures {
  readonly unit: string
  readonly of: Partial<Record<TargetName, Figure>>
}

export interface Report {
  readonly machine: Readonly<Record<string, string | number>>
  readonly figures: Readonly<Record<string, Partial<Record<TargetName, Figure>> & { unit: string }>>
  readonly ratios: Readonly<Record<string, number>>
}

export function reportOf(measured: Measured): Report {
  const figures: Record<string, Partial<Record<TargetName, Figure>> & { unit: string }> = {}
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
    ratios[`throughput_vs_pgbouncer_${shape}`] = ratioOf(samples, 'pgbouncer', throughput)
    ratios[`throughput_vs_direct_${shape}`] = ratioOf(samples, 'direct', throughput)
    ratios[`cpu_per_transaction_vs_pgbouncer_${shape}`] = ratioOf(
      samples,
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
  return { machine: machine(), figures, ratios: rounded(ratios) }
}

function perTarget(
  samples: readonly ThroughputSample[],
  unit: string,
  of: (sample: ThroughputSample) => number | undefined,
): Partial<Record<TargetName, Figure>> & { unit: string } {
  const figures: Partial<Record<TargetName, Figure>> & { unit: string } = { unit }
  for (const name of new Set(samples.map(({ target }) => target))) {
    const values = samples.filter(({ target }) => target === name).map(of)
    const known = values.filter((value) => value !== undefined)
    if (known.length > 0) figures[name] = figureOf(known)
  }
  return figures
}

/** Median of the rounds' ratios: both sides of each were measured next to each other. */
function ratioOf(
  samples: readonly ThroughputSample[],
  peer: TargetName,
  of: (sample: ThroughputSample) => number,
): number {
  const rounds = samples.filter(({ target }) => target === 'sallyport')
  return medianOf(
    rounds.map((ours) => {
      const theirs = samples.find(({ target, round }) => target === peer && round === ours.round)
      return of(ours) / of(theirs!)
    }),
  )
}

function rounded(ratios: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(ratios).map(([name, value]) => [name, Math.round(value * 1_000) / 1_000]),
  )
}

function machine(): Record<string, string | number> {
  const [cpu] = cpus()
  const firstLine = (command: string): string =>
    execFileSync(command, ['--version'], { encoding: 'utf8' }).split('\n')[0]!
  return {
    cpu: cpu?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    system: `${process.platform} ${release()}`,
    node: process.version,
    pgbench: firstLine('pgbench'),
    pgbouncer: firstLine(pgbouncerProgram),
  }
}

/** The same for people: a table of figures, then the ratios. */
export function tableOf(report: Report): string {
  const lines = ['', row('', 'direct', 'pgbouncer', 'sallyport', 'unit')]
  for (const [name, figures] of Object.entries(report.figures)) {
    const cell = (target: TargetName): string => {
      const figure = figures[target]
      if (figure === undefined) return ''
      const spread = figure.min === figure.max ? '' : ` (${short(figure.min)}–${short(figure.max)})`
      return short(figure.median) + spread
    }
    if (Object.keys(figures).length > 1) {
      lines.push(row(name, cell('direct'), cell('pgbouncer'), cell('sallyport'), figures.unit))
    }
  }
  lines.push('', 'ratios')
  for (const [name, value] of Object.entries(report.ratios)) {
    lines.push(`  ${name.padEnd(46)} ${value}`)
  }
  return lines.join('\n')
}

function row(name: string, ...cells: string[]): string {
  return name.padEnd(40) + cells.map((cell) => cell.padStart(26)).join('')
}

function short(value: number): string {
  return Math.abs(value) >= 100 ? String(Math.round(value)) : value.toFixed(2)
}
