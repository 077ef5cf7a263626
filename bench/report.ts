import { cpus, release, totalmem } from 'node:os'
import type { Figure } from './statistics.ts'

/** Figures of one kind, of those targets that have it. */
export type FigureRow<Target extends string> = Partial<Record<Target, Figure>> & { unit: string }

export interface Report<Target extends string> {
  readonly machine: Readonly<Record<string, string | number>>
  readonly figures: Readonly<Record<string, FigureRow<Target>>>
  /** Rounded to three places. */
  readonly ratios: Readonly<Record<string, number>>
}

/** `programs`: versions of the peers and clients. */
export function createReport<Target extends string>(
  figures: Readonly<Record<string, FigureRow<Target>>>,
  ratios: Readonly<Record<string, number>>,
  programs: Readonly<Record<string, string>>,
): Report<Target> {
  const rounded = Object.entries(ratios).map(
    ([name, value]) => [name, Math.round(value * 1_000) / 1_000] as const,
  )
  return {
    machine: { ...machine(), ...programs },
    figures,
    ratios: Object.fromEntries(rounded),
  }
}

/** What the figures were measured on. */
export function machine(): Record<string, string | number> {
  const [cpu] = cpus()
  return {
    cpu: cpu?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    system: `${process.platform} ${release()}`,
    node: process.version,
  }
}

const cellWidth = 26

/** A report for people: a table of figures, then the ratios. */
export function tableOf<Target extends string>(
  { figures, ratios }: Report<Target>,
  targets: readonly Target[],
): string {
  const nameWidth = Math.max(...Object.keys(figures).map((name) => name.length)) + 1
  const line = (name: string, cells: readonly string[]): string =>
    name.padEnd(nameWidth) + cells.map((cell) => cell.padStart(cellWidth)).join('')
  const lines = ['', line('', [...targets, 'unit'])]
  for (const [name, row] of Object.entries<FigureRow<Target>>(figures)) {
    const cells = targets.map((target) => cellOf(row[target]))
    if (cells.some((cell) => cell !== '')) lines.push(line(name, [...cells, row.unit]))
  }
  lines.push('', 'ratios')
  for (const [name, value] of Object.entries(ratios)) {
    lines.push(`  ${name.padEnd(46)} ${value}`)
  }
  return lines.join('\n')
}

function cellOf(figure: Figure | undefined): string {
  if (figure === undefined) return ''
  const { median, min, max } = figure
  return short(median) + (min === max ? '' : ` (${short(min)}–${short(max)})`)
}

function short(value: number): string {
  return Math.abs(value) >= 100 ? String(Math.round(value)) : value.toFixed(2)
}
