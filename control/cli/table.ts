/**
 * Tables that fit the terminal: columns that can be spared go first, those that may shrink are cut with "…", and no line
 * ever wraps.
 */
import { printable } from './printable.ts'
import { textWidth, truncateToWidth } from './text-width.ts'
import { paint, type Style } from './paint.ts'

export interface Column {
  readonly header: string
  /** May be cut when the line is too long. Identifiers and numbers should not be. */
  readonly shrinks?: boolean
  /** What a column that shrinks keeps as long as another can be spared; 8 if left out. In columns of the terminal. */
  readonly widthMin?: number
  /** Left out where the line is too long for all of them: the highest first. Without it a column stays. */
  readonly spare?: number
  readonly align?: 'left' | 'right'
}
/** Text from anywhere: it is made printable here. */
export type Cell = string | number | { readonly text: string; readonly style: Style }

export interface TableSpace {
  /** Columns of the terminal; undefined when the output is not one: nothing is cut then. */
  readonly columns: number | undefined
  readonly colour: boolean
}

const gap = '  '
const shrunkWidthMin = 8

/** Lines with a header, joined by line feeds, without one at the end. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  space: TableSpace,
): string {
  const texts = rows.map((row) => row.map((cell) => printable(cellText(cell))))
  const natural = columns.map((column, index) =>
    Math.max(textWidth(column.header), ...texts.map((row) => textWidth(row[index] ?? ''))),
  )
  const isEmpty = columns.map((_, index) => texts.every((row) => (row[index] ?? '') === ''))
  const kept = keepColumns(columns, natural, isEmpty, space.columns)
  const widths = fitWidths(
    kept.map((index) => columns[index]!),
    kept.map((index) => natural[index]!),
    space.columns,
  )
  const line = (cells: readonly string[], style: (index: number) => Style | undefined): string => {
    const parts: string[] = []
    let left = space.columns ?? Number.POSITIVE_INFINITY
    for (const [at, index] of kept.entries()) {
      const column = columns[index]!
      if (at > 0) left -= gap.length
      if (left <= 0) break
      const width = Math.min(widths[at] ?? 0, left)
      left -= width
      const cut = truncateToWidth(cells[index] ?? '', width)
      const padding = ' '.repeat(Math.max(0, width - textWidth(cut)))
      const shown = paint(cut, style(index), space.colour)
      const isLast = at === kept.length - 1
      parts.push(column.align === 'right' ? padding + shown : shown + (isLast ? '' : padding))
    }
    return parts.join(gap).trimEnd()
  }
  return [
    line(
      columns.map((column) => column.header),
      () => 'dim',
    ),
    ...texts.map((row, at) => line(row, (index) => cellStyle(rows[at]?.[index]))),
  ].join('\n')
}

/** The columns that are shown: all where they fit, else without empty ones and then without the sparest. */
function keepColumns(
  columns: readonly Column[],
  natural: readonly number[],
  isEmpty: readonly boolean[],
  available: number | undefined,
): number[] {
  let kept = columns.map((_, index) => index)
  if (available === undefined || lineWidth(natural) <= available) return kept
  kept = kept.filter((index) => columns[index]!.spare === undefined || isEmpty[index] !== true)
  const least = (index: number): number => {
    const { shrinks, widthMin } = columns[index]!
    return shrinks === true
      ? Math.min(natural[index]!, widthMin ?? shrunkWidthMin)
      : natural[index]!
  }
  while (lineWidth(kept.map(least)) > available) {
    const [sparest] = kept
      .filter((index) => columns[index]!.spare !== undefined)
      .sort((one, other) => columns[other]!.spare! - columns[one]!.spare!)
    if (sparest === undefined) break
    kept = kept.filter((index) => index !== sparest)
  }
  return kept
}

/** Takes from the widest column that may shrink until the line fits (or nothing may shrink any more). */
export function fitWidths(
  columns: readonly Column[],
  natural: readonly number[],
  available: number | undefined,
): number[] {
  const widths = [...natural]
  if (available === undefined) return widths
  const leastOf = (index: number): number => columns[index]?.widthMin ?? shrunkWidthMin
  const fits = columns.map((_, index) => Math.min(widths[index] ?? 0, leastOf(index)))
  const roomy =
    lineWidth(
      columns.map((column, index) => (column.shrinks === true ? fits[index]! : widths[index]!)),
    ) <= available
  const floorOf = (index: number): number => (roomy ? leastOf(index) : shrunkWidthMin)
  let excess = lineWidth(widths) - available
  while (excess > 0) {
    const shrinkable = widths
      .map((width, index) => ({ width, index }))
      .filter(({ width, index }) => columns[index]?.shrinks === true && width > floorOf(index))
      .sort((one, other) => other.width - one.width)
    const widest = shrinkable[0]
    if (widest === undefined) break
    const floor = Math.max(shrinkable[1]?.width ?? 0, floorOf(widest.index))
    const take = Math.min(excess, Math.max(1, widest.width - floor))
    widths[widest.index] = widest.width - take
    excess -= take
  }
  return widths
}

function lineWidth(widths: readonly number[]): number {
  return widths.reduce((total, width) => total + width, gap.length * (widths.length - 1))
}

function cellText(cell: Cell): string {
  return typeof cell === 'object' ? cell.text : String(cell)
}

function cellStyle(cell: Cell | undefined): Style | undefined {
  return typeof cell === 'object' ? cell.style : undefined
}
