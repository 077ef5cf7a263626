/** asciicast v3, as asciinema plays it: https://docs.asciinema.org/manual/asciicast/v3/ */
import type { RecordingView } from '../../api/recording-shapes.ts'
import { printable } from '../printable.ts'
import type { TerminalEvent } from './terminal-events.ts'

/** For a recording of no terminal. */
const defaultSize = { columns: 80, rows: 24 }

export function castHeader(recording: RecordingView): string {
  const { columns, rows, term, title, beganAtUs } = recording
  return JSON.stringify({
    version: 3,
    term: {
      cols: columns ?? defaultSize.columns,
      rows: rows ?? defaultSize.rows,
      ...(term === null ? {} : { type: printable(term) }),
    },
    timestamp: Math.floor(beganAtUs / 1_000_000),
    // Players show these outside of the terminal that they play on.
    ...(title === null ? {} : { title: printable(title), command: printable(title) }),
  })
}

/** Events as lines; each says how long after the one before it came, in seconds. */
export class CastEvents {
  #lastUs = 0

  line(event: TerminalEvent): string {
    switch (event.kind) {
      case 'output':
        return this.#line(event.atUs, 'o', event.text)
      case 'input':
        return this.#line(event.atUs, 'i', event.text)
      case 'resize':
        return this.#line(event.atUs, 'r', `${event.columns}x${event.rows}`)
      case 'mark':
        return this.#line(event.atUs, 'm', printable(event.label))
    }
  }

  /** `status`: what the program exited with. */
  exit(atUs: number, status: number): string {
    return this.#line(atUs, 'x', String(status))
  }

  #line(atUs: number, code: string, data: string): string {
    // Two sides of a channel may be a little out of order.
    const intervalUs = Math.max(0, atUs - this.#lastUs)
    this.#lastUs += intervalUs
    const seconds = intervalUs / 1_000_000
    return `[${seconds.toFixed(6)}, ${JSON.stringify(code)}, ${JSON.stringify(data.toWellFormed())}]`
  }
}
