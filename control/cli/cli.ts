/** What every command gets: where to write, how wide and in which colours, what time it is. */
import type { Clock } from '../../protocols/kit/clock.ts'
import { paint, type Style } from './paint.ts'
import { printableJson } from './printable.ts'
import { formatTable, type Cell, type Column, type TableSpace } from './table.ts'

export interface Cli {
  readonly clock: Clock
  readonly environment: NodeJS.ProcessEnv
  /** Answers are JSON on standard output, errors are JSON on standard error, and nothing else is said. */
  readonly json: boolean
  /** Whether a person sits at standard input and standard error, and can be asked. */
  readonly interactive: boolean
  /** Whether standard error is a terminal, so that progress may be shown and wiped. */
  readonly progressVisible: boolean
  /** The answer: `value` with `--json`, else what `human` returns. */
  answer(value: unknown, human: () => string): void
  /** One of many that come as they happen: a line of JSON with `--json`, else what `human` returns. */
  event(value: unknown, human: () => string): void
  /** How wide standard output is; undefined where it is no terminal. */
  readonly columns: number | undefined
  /** A line for people on standard error (a hint, a warning); silent with `--json`. */
  note(line: string): void
  /** Raw text to standard error: prompts and progress. */
  writeError(text: string): void
  /** For a command whose answer is a no. */
  exitWith(code: number): void
  paint(text: string, style: Style): string
  paintNote(text: string, style: Style): string
  table(columns: readonly Column[], rows: readonly (readonly Cell[])[]): string
}

export interface CliStreams {
  readonly clock: Clock
  readonly environment: NodeJS.ProcessEnv
  readonly json: boolean
  readonly stdin: { readonly isTTY?: boolean }
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  exitWith(code: number): void
}
export interface OutputStream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): boolean
}

export function createCli(streams: CliStreams): Cli {
  const { clock, environment, json, stdin, stdout, stderr } = streams
  const space: TableSpace = {
    columns: terminalColumns(stdout, environment),
    colour: wantsColour(stdout, environment),
  }
  const errorColour = wantsColour(stderr, environment)
  return {
    clock,
    environment,
    json,
    interactive: stdin.isTTY === true && stderr.isTTY === true,
    progressVisible: stderr.isTTY === true && !json,
    answer(value, human) {
      const text = json ? printableJson(value, stdout.isTTY === true ? 2 : undefined) : human()
      if (text !== '') stdout.write(`${text}\n`)
    },
    event: (value, human) => void stdout.write(`${json ? printableJson(value) : human()}\n`),
    columns: space.columns,
    note(line) {
      if (!json) stderr.write(`${line}\n`)
    },
    writeError: (text) => void stderr.write(text),
    exitWith: (code) => streams.exitWith(code),
    paint: (text, style) => paint(text, style, space.colour),
    paintNote: (text, style) => paint(text, style, errorColour),
    table: (columns, rows) => formatTable(columns, rows, space),
  }
}

/** https://no-color.org: set and not empty means no. */
function wantsColour(stream: OutputStream, environment: NodeJS.ProcessEnv): boolean {
  const refused = environment['NO_COLOR'] !== undefined && environment['NO_COLOR'] !== ''
  return stream.isTTY === true && !refused && environment['TERM'] !== 'dumb'
}

function terminalColumns(stream: OutputStream, environment: NodeJS.ProcessEnv): number | undefined {
  const asked = Number(environment['COLUMNS'])
  if (Number.isInteger(asked) && asked >= 20) return asked
  // A terminal that nobody told its size says 0.
  return stream.isTTY === true ? stream.columns || 80 : undefined
}
