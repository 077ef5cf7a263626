/** Tables that fit the terminal: columns that may shrink are cut with "…", and no line ever wraps. */
import { printable } from './printable.ts'
import { textWidth, truncateToWidth } from './text-width.ts'
import { paint, type Style } from './paint.ts'

export interface Column {
  readonly header: string
  /** May be cut when the line is too long. Identifiers and numbers should not be. */
  readonly shrinks?: boolean
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
  const widths = fitWidths(columns, natural, space.columns)
  const line = (cells: readonly string[], style: (index: number) => Style | undefined): string => {
    const parts: string[] = []
    let left = space.columns ?? Number.POSITIVE_INFINITY
    for (const [index, column] of columns.entries()) {
      if (index > 0) left -= gap.length
      if (left <= 0) break
      const width = Math.min(widths[index] ?? 0, left)
      left -= width
      const cut = truncateToWidth(cells[index] ?? '', width)
      const padding = ' '.repeat(Math.max(0, width - textWidth(cut)))
      const shown = paint(cut, style(index), space.colour)
      const isLast = index === columns.length - 1
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

/** Takes from the widest column that may shrink until the line fits (or nothing may shrink any more). */
export function fitWidths(
  columns: readonly Column[],
  natural: readonly number[],
  available: number | undefined,
): number[] {
  const widths = [...natural]
  if (available === undefined) return widths
  let excess = sum(widths) + gap.length * (widths.length - 1) - available
  while (excess > 0) {
    const shrinkable = widths
      .map((width, index) => ({ width, index }))
      .filter(({ width, index }) => columns[index]?.shrinks === true && width > shrunkWidthMin)
      .sort((one, other) => other.width - one.width)
    const widest = shrinkable[0]
    if (widest === undefined) break
    const floor = Math.max(shrinkable[1]?.width ?? 0, shrunkWidthMin)
    const take = Math.min(excess, Math.max(1, widest.width - floor))
    widths[widest.index] = widest.width - take
    excess -= take
  }
  return widths
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

function cellText(cell: Cell): string {
  return typeof cell === 'object' ? cell.text : String(cell)
}

function cellStyle(cell: Cell | undefined): Style | undefined {
  return typeof cell === 'object' ? cell.style : undefined
}
