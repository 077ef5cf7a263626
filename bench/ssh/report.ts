import { spawnSync } from 'node:child_process'
import { createReport, type FigureRow, type Report } from '../report.ts'
import { figureOf, geometricMean, percentile, ratioOfRounds } from '../statistics.ts'
import type { RoundSample } from '../statistics.ts'
import type { Direction } from './measure.ts'
import { targetNames, type CipherName, type TargetName } from './targets.ts'

export interface BulkSample extends RoundSample<TargetName> {
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

const megabyte = 1_000_000

export function reportOf(measured: Measured): Report<TargetName> {
  const figures: Record<string, FigureRow<TargetName>> = {}
  const ratios: Record<string, number> = {}
  const speed = ({ bytesPerSecond }: BulkSample): number => bytesPerSecond
  const shapes = [
    ...new Set(measured.bulk.map(({ direction, cipher }) => `${direction}_${cipher}`)),
  ]
  for (const shape of shapes) {
    const samples = measured.bulk.filter((each) => `${each.direction}_${each.cipher}` === shape)
    const row: FigureRow<TargetName> = { unit: 'MB/s' }
    for (const target of targetNames) {
      const own = samples.filter((each) => each.target === target)
      row[target] = figureOf(own.map(({ bytesPerSecond }) => bytesPerSecond / megabyte))
    }
    figures[`bulk_${shape}`] = row
    for (const peer of ['proxyjump', 'direct'] as const) {
      ratios[`bulk_vs_${peer}_${shape}`] = ratioOfRounds(samples, 'sallyport', peer, speed)
      ratios[`bulk_no_jump_vs_${peer}_${shape}`] = ratioOfRounds(
        samples,
        'sallyport_no_jump',
        peer,
        speed,
      )
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
    const row: FigureRow<TargetName> = { unit: 'ms' }
    for (const [target, times] of Object.entries(measured.echo)) {
      row[target as TargetName] = figureOf([percentile(times, share)])
    }
    figures[`echo_${name}`] = row
    ratios[`echo_added_ms_${name}`] = row.sallyport!.median - row.direct!.median
    ratios[`echo_added_ms_${name}_proxyjump`] = row.proxyjump!.median - row.direct!.median
  }
  const perSecond: FigureRow<TargetName> = { unit: '1/s' }
  for (const [target, values] of Object.entries(measured.sessions)) {
    perSecond[target as TargetName] = figureOf(values)
  }
  figures['sessions_per_second'] = perSecond
  ratios['sessions_vs_proxyjump'] = perSecond.sallyport!.median / perSecond.proxyjump!.median
  ratios['sessions_no_jump_vs_direct'] =
    perSecond.sallyport_no_jump!.median / perSecond.direct!.median
  figures['memory_per_idle_session'] = { unit: 'kB', sallyport: figureOf([measured.memoryKb]) }
  ratios['memory_kb_per_idle_session'] = measured.memoryKb
  // It says so on standard error.
  const openssh = spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr.trim()
  return createReport(figures, ratios, { openssh })
}
