import { spawnSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import { figureOf, medianOf, type Figure } from '../postgres/statistics.ts'
import type { Direction } from './measure.ts'
import { targetNames, type CipherName, type TargetName } from './targets.ts'

export interface BulkSample {
  readonly round: number
  readonly target: TargetName
  readonly cipher: CipherName
  readonly direction: Direction
  readonly bytesPerSecond: number
}

type PerTarget<T> = Readonly<Partial<Record<TargetName, T>>>

export interface Measured {
  readonly bulk: readonly BulkSample[]
  /** Milliseconds of each keystroke. */
  readonly echo: PerTarget<readonly number[]>
  /** Per second, of each round. */
  readonly sessions: PerTarget<readonly number[]>
  readonly memoryKb: number
}

type Row = Partial<Record<TargetName, Figure>> & { unit: string }

export interface Report {
  readonly machine: Readonly<Record<string, string | number>>
  readonly figures: Readonly<Record<string, Row>>
  readonly ratios: Readonly<Record<string, number>>
}

const megabyte = 1_000_000

export function reportOf(measured: Measured): Report {
  const figures: Record<string, Row> = {}
  const ratios: Record<string, number> = {}
  const shapes = [
    ...new Set(measured.bulk.map(({ direction, cipher }) => `${direction}_${cipher}`)),
  ]
  for (const shape of shapes) {
    const samples = measured.bulk.filter((each) => `${each.direction}_${each.cipher}` === shape)
    const row: Row = { unit: 'MB/s' }
    for (const target of targetNames) {
      const own = samples.filter((each) => each.target === target)
      row[target] = figureOf(own.map(({ bytesPerSecond }) => bytesPerSecond / megabyte))
    }
    figures[`bulk_${shape}`] = row
    for (const peer of ['proxyjump', 'direct'] as const) {
      ratios[`bulk_vs_${peer}_${shape}`] = ratioOf(samples, 'sallyport', peer)
      ratios[`bulk_no_jump_vs_${peer}_${shape}`] = ratioOf(samples, 'sallyport_no_jump', peer)
    }
  }
  // The one that the budget names: over both directions and both ciphers.
  ratios['bulk_vs_proxyjump'] = geometricMean(
    shapes.map((shape) => ratios[`bulk_vs_proxyjump_${shape}`]!),
  )
  for (const [name, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
  ] as const) {
    const row: Row = { unit: 'ms' }
    for (const [target, times] of Object.entries(measured.echo)) {
      row[target as TargetName] = figureOf([percentile(times, share)])
    }
    figures[`echo_${name}`] = row
    ratios[`echo_added_ms_${name}`] = row.sallyport!.median - row.direct!.median
    ratios[`echo_added_ms_${name}_proxyjump`] = row.proxyjump!.median - row.direct!.median
  }
  const perSecond: Row = { unit: '1/s' }
  for (const [target, values] of Object.entries(measured.sessions)) {
    perSecond[target as TargetName] = figureOf(values)
  }
  figures['sessions_per_second'] = perSecond
  ratios['sessions_vs_proxyjump'] = perSecond.sallyport!.median / perSecond.proxyjump!.median
  ratios['sessions_no_jump_vs_direct'] =
    perSecond.sallyport_no_jump!.median / perSecond.direct!.median
  figures['memory_per_idle_session'] = { unit: 'kB', sallyport: figureOf([measured.memoryKb]) }
  ratios['memory_kb_per_idle_session'] = measured.memoryKb
  return { machine: machine(), figures, ratios: rounded(ratios) }
}

/** Median of the rounds' ratios: both sides of each were measured next to each other. */
function ratioOf(samples: readonly BulkSample[], ours: TargetName, peer: TargetName): number {
  const of = (target: TargetName, round: number): number =>
    samples.find((each) => each.target === target && each.round === round)!.bytesPerSecond
  const rounds = [...new Set(samples.map(({ round }) => round))]
  return medianOf(rounds.map((round) => of(ours, round) / of(peer, round)))
}

function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

function rounded(ratios: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(ratios).map(([name, value]) => [name, Math.round(value * 1_000) / 1_000]),
  )
}

function machine(): Record<string, string | number> {
  const [cpu] = cpus()
  return {
    cpu: cpu?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    system: `${process.platform} ${release()}`,
    node: process.version,
    // It says so on standard error.
    openssh: spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr.trim(),
  }
}

/** The same for people: a table of figures, then the ratios. */
export function tableOf(report: Report): string {
  const cells = (values: readonly string[]): string =>
    values.map((one) => one.padStart(24)).join('')
  const lines = ['', ''.padEnd(28) + cells([...targetNames, 'unit'])]
  for (const [name, row] of Object.entries(report.figures)) {
    const cell = (target: TargetName): string => {
      const figure = row[target]
      if (figure === undefined) return ''
      const spread = figure.min === figure.max ? '' : ` (${short(figure.min)}–${short(figure.max)})`
      return short(figure.median) + spread
    }
    lines.push(name.padEnd(28) + cells([...targetNames.map(cell), row.unit]))
  }
  lines.push('', 'ratios')
  for (const [name, value] of Object.entries(report.ratios)) {
    lines.push(`  ${name.padEnd(46)} ${value}`)
  }
  return lines.join('\n')
}

function short(value: number): string {
  return Math.abs(value) >= 100 ? String(Math.round(value)) : value.toFixed(2)
}
