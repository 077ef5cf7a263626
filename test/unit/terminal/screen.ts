import { Terminal } from '@xterm/headless'

export interface Screen {
  lines: string[]
  cursor: [number, number]
}

/** What a real terminal shows after these writes: every cell's character, colours and style, and where the cursor is. */
export async function screenOf(
  writes: readonly (string | Uint8Array | { columns: number; rows: number })[],
  columns: number,
  rows: number,
): Promise<Screen> {
  const terminal = new Terminal({ cols: columns, rows, allowProposedApi: true, scrollback: 1_000 })
  for (const one of writes) {
    if (typeof one === 'object' && 'columns' in one) terminal.resize(one.columns, one.rows)
    else await new Promise<void>((resolve) => terminal.write(one, resolve))
  }
  const buffer = terminal.buffer.active
  const lines: string[] = []
  for (let y = 0; y < terminal.rows; y += 1) {
    const line = buffer.getLine(buffer.baseY + y)
    let text = ''
    for (let x = 0; x < terminal.cols; x += 1) {
      const cell = line?.getCell(x)
      if (cell === undefined) continue
      const style = `${cell.getFgColor()}/${cell.getBgColor()}/${cell.isBold()}/${cell.isInverse()}`
      text += `${cell.getChars() || ' '}${style === '-1/-1/0/0' ? '' : `<${style}>`}`
    }
    lines.push(text.trimEnd())
  }
  const cursor: [number, number] = [buffer.cursorX, buffer.cursorY]
  terminal.dispose()
  return { lines, cursor }
}
