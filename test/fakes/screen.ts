import xterm from '@xterm/headless'

/** A terminal without a display: what is written to it becomes lines of text. */
export interface Screen {
  write(bytes: Buffer): void
  /** What it shows once all that was written has been read, lines without the spaces at their ends. */
  text(): Promise<string>
}

export function createScreen(columns: number, rows: number): Screen {
  const terminal = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true })
  return {
    write: (bytes) => terminal.write(bytes),
    text: () =>
      new Promise((resolve) => {
        terminal.write('', () => {
          const { active } = terminal.buffer
          const lines = Array.from({ length: rows }, (_, row) =>
            active.getLine(active.viewportY + row)?.translateToString(true),
          )
          resolve(lines.join('\n'))
        })
      }),
  }
}
