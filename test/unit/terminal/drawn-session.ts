/** What a shell and a full-screen editor write, in the sequences that ncurses makes of TERM=xterm-256color. */

export interface DrawnSession {
  /** In pieces as a channel would bring them, also in the middle of characters and sequences. */
  readonly chunks: readonly Buffer[]
  readonly columns: number
  readonly rows: number
}

export function drawnSession(): DrawnSession {
  const columns = 60
  const rows = 16
  const text: string[] = [
    '\u001b[?2004h\u001b[01;32mdeploy@web1\u001b[00m:\u001b[01;34m~\u001b[00m$ vi ünï.txt\r\n',
  ]
  // An editor takes the other screen, asks the terminal things, and draws.
  text.push('\u001b[?1049h\u001b[22;0;0t\u001b[>4;2m\u001b[?1h\u001b=\u001b[?2004h\u001b[1;16r')
  text.push(
    '\u001b[?12h\u001b[?12l\u001b[27m\u001b[m\u001b[H\u001b[2J\u001b[?25l\u001b[16;1H"ünï.txt" 40L',
  )
  text.push('\u001b[1;1H')
  for (let line = 1; line < rows - 1; line += 1) {
    text.push(
      `\u001b[38;5;${line + 20}m${String(line).padStart(3)}\u001b[m zeile ${'äöü€'.repeat(line % 4)}\r\n`,
    )
  }
  text.push('\u001b[94m~\u001b[m\u001b[6n\u001b[1;5H\u001b[?25h\u001b[?25l')
  for (let scroll = 0; scroll < 12; scroll += 1) {
    text.push(
      `\u001b[1;15r\u001b[1;1H\u001b[L\u001b[1;16r\u001b[1;1H\u001b[7m${scroll}\u001b[27m 語 \u001b[K`,
    )
    text.push(
      `\u001b[3;10H\u001b[2P\u001b[4@\u001b[5;1H\u001b[M\u001b[15;1H\u001b[J\u001b(0lqqk\u001b(B`,
    )
  }
  text.push(
    '\u001b[4;4H\u001b[31;1mfett\u001b[22;39m\u001b[16;1H\u001b[K\u001b[16;1H:wq\u001b[?25h',
  )
  text.push('\r\u001b[?2004l\u001b[>4;m\u001b[?1l\u001b>\u001b[?1049l\u001b[23;0;0t')
  text.push('deploy@web1:~$ \u001b]0;title\u0007ls\r\nünï.txt\tother\r\n')
  const bytes = Buffer.from(text.join(''))
  const chunks: Buffer[] = []
  for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7 + 3) % 61) {
    chunks.push(bytes.subarray(at, at + Math.max(1, size)))
    size = Math.max(1, size)
  }
  return { chunks, columns, rows }
}
