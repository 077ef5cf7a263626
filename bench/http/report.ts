import { spawnSync } from 'node:child_process'
import { createReport, type FigureRow, type Report } from '../report.ts'
import { figureOf, ratioOfRounds, type RoundSample } from '../statistics.ts'
import { cutKinds, type CutSample } from './cuts.ts'
import { h2loadProgram, type HttpVersion } from './h2load.ts'
import { nginxProgram } from './nginx.ts'
import { targetNames, type TargetName } from './targets.ts'

export interface RequestSample extends RoundSample<TargetName> {
  readonly version: HttpVersion
  readonly perSecond: number
  /** Of the process in the middle; undefined for direct. */
  readonly cpuUsPerRequest: number | undefined
}

export interface LatencySample extends RoundSample<TargetName> {
  readonly p50: number
  readonly p99: number
}

export interface MessageSample extends RoundSample<TargetName> {
  readonly perSecond: number
}

export interface Measured {
  readonly requests: readonly RequestSample[]
  readonly latency: readonly LatencySample[]
  readonly messages: readonly MessageSample[]
  readonly memoryKb: Readonly<Record<'nginx' | 'sallyport', number>>
  readonly cuts: readonly CutSample[]
  /** Requests that were sent through the proxy, and that the audit has. */
  readonly completeness: { readonly sent: number; readonly stored: number }
}

export function reportOf(measured: Measured): Report<TargetName> {
  const figures: Record<string, FigureRow<TargetName>> = {}
  const ratios: Record<string, number> = {}
  for (const version of ['1.1', '2'] as const) {
    const samples = measured.requests.filter((each) => each.version === version)
    const shape = version === '2' ? '_http2' : ''
    figures[`requests${shape}`] = perTarget(samples, '1/s', (each) => each.perSecond)
    figures[`cpu_per_request${shape}`] = perTarget(samples, 'µs', (each) => each.cpuUsPerRequest)
    const perSecond = (each: RequestSample): number => each.perSecond
    ratios[`requests_vs_nginx${shape}`] = ratioOfRounds(samples, 'sallyport', 'nginx', perSecond)
    ratios[`cpu_per_request_vs_nginx${shape}`] = ratioOfRounds(
      samples,
      'sallyport',
      'nginx',
      (each) => each.cpuUsPerRequest!,
    )
  }
  for (const share of ['p50', 'p99'] as const) {
    const row = perTarget(measured.latency, 'ms', (each) => each[share])
    figures[`latency_${share}`] = row
    ratios[`latency_added_ms_${share}`] = row.sallyport!.median - row.direct!.median
    ratios[`latency_added_ms_${share}_nginx`] = row.nginx!.median - row.direct!.median
  }
  figures['websocket_messages'] = perTarget(measured.messages, '1/s', (each) => each.perSecond)
  ratios['websocket_messages_vs_nginx'] = ratioOfRounds(
    measured.messages,
    'sallyport',
    'nginx',
    (each) => each.perSecond,
  )
  figures['memory_per_idle_websocket'] = {
    unit: 'kB',
    nginx: figureOf([measured.memoryKb.nginx]),
    sallyport: figureOf([measured.memoryKb.sallyport]),
  }
  ratios['memory_kb_per_idle_websocket'] = measured.memoryKb.sallyport
  for (const kind of cutKinds) {
    const ofKind = measured.cuts.filter((each) => each.kind === kind)
    figures[`cut_${kind}`] = { unit: 'ms', sallyport: figureOf(ofKind.map(({ ms }) => ms)) }
  }
  const { median, max } = figureOf(measured.cuts.map(({ ms }) => ms))
  ratios['cut_ms'] = median
  ratios['cut_ms_max'] = max
  ratios['completeness'] = measured.completeness.stored / measured.completeness.sent
  return createReport(figures, ratios, {
    nginx: spawnSync(nginxProgram, ['-v'], { encoding: 'utf8' }).stderr.trim(),
    h2load: spawnSync(h2loadProgram, ['--version'], { encoding: 'utf8' }).stdout.trim(),
  })
}

function perTarget<Sample extends RoundSample<TargetName>>(
  samples: readonly Sample[],
  unit: string,
  of: (sample: Sample) => number | undefined,
): FigureRow<TargetName> {
  const row: FigureRow<TargetName> = { unit }
  for (const name of targetNames) {
    const values = samples.filter(({ target }) => target === name).map(of)
    const known = values.filter((value) => value !== undefined)
    if (known.length > 0) row[name] = figureOf(known)
  }
  return row
}
