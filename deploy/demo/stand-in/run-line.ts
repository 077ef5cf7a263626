import { sleep, startDeadline, type Clock } from '../../../protocols/kit/clock.ts'
import { accessLog, type Files } from './files.ts'
import { readLine, ShellSyntaxError } from './read-line.ts'

/** Said wherever somebody could take it for a server. */
export const standInBanner = `This is a stand-in for a server: no sshd is installed where this demo runs.
It runs a few commands of its own (help), and nothing of the machine it is on.
`

/** Who runs something, and on what. */
export interface Shell {
  readonly account: string
  readonly files: Files
  readonly clock: Clock
  /** Of the stand-in, monotonic. */
  readonly startedMs: number
}

/** Where a command writes to, and what ends it. */
export interface Streams {
  readonly write: (text: string) => void
  readonly complain: (text: string) => void
  readonly signal: AbortSignal
}

export interface LineEnd {
  readonly code: number
  /** `exit` was among it. */
  readonly leaves: boolean
}

const codes = { failed: 1, usage: 2, timedOut: 124, notFound: 127, interrupted: 130 } as const
const linesUsual = 10
const sleepSecondsMax = 86_400

type Command = (
  words: readonly string[],
  shell: Shell,
  streams: Streams,
) => number | Promise<number>

/** Runs one line to its end. Never rejects: what goes wrong is said, and is in the code. */
export async function runLine(line: string, shell: Shell, streams: Streams): Promise<LineEnd> {
  let steps
  try {
    steps = readLine(line)
  } catch (error) {
    if (!(error instanceof ShellSyntaxError)) throw error
    streams.complain(`sh: ${error.message}\n`)
    return { code: codes.usage, leaves: false }
  }
  let code = 0
  for (const { words, needsSuccess } of steps) {
    if (needsSuccess && code !== 0) continue
    if (words[0] === 'exit') return { code: (Number(words[1] ?? code) || 0) & 255, leaves: true }
    code = await runWords(words, shell, streams)
    if (streams.signal.aborted) return { code: codes.interrupted, leaves: false }
  }
  return { code, leaves: false }
}

async function runWords(words: readonly string[], shell: Shell, streams: Streams): Promise<number> {
  const [name = '', ...more] = words
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command !== undefined) return command(more, shell, streams)
  streams.complain(`sh: ${name}: not found\n${standInBanner}`)
  return codes.notFound
}

const commands: Readonly<Record<string, Command>> = {
  help(_words, _shell, { write }) {
    write(`${standInBanner}commands: ${[...Object.keys(commands), 'exit'].sort().join(' ')}\n`)
    return 0
  },
  ls(words, { account, files }, { write, complain }) {
    const [path = ''] = words.filter((word) => !word.startsWith('-'))
    const names = files.list(plain(path)) ?? (files.read(account, plain(path)) && [path])
    if (names === undefined) return absent('ls', path, complain)
    write(names.map((name) => `${name}\n`).join(''))
    return 0
  },
  cat(words, { account, files }, { write, complain }) {
    if (words.length === 0) return usage('cat FILE…', complain)
    const code = words.map((word) => {
      const lines = files.read(account, plain(word))
      if (lines === undefined) return absent('cat', word, complain)
      write(lines.map((line) => `${line}\n`).join(''))
      return 0
    })
    return Math.max(...code)
  },
  async tail(words, { account, files }, { write, complain, signal }) {
    const [, count = String(linesUsual)] =
      /(?:^| )-n? ?(\d{1,6})(?= |$)/.exec(words.join(' ')) ?? []
    const follows = words.includes('-f')
    const path = words.at(-1) ?? ''
    const lines = files.read(account, plain(path))
    if (lines === undefined) return absent('tail', path, complain)
    write(
      lines
        .slice(Math.max(0, lines.length - Number(count)))
        .map((line) => `${line}\n`)
        .join(''),
    )
    if (!follows) return 0
    const stop = plain(path) === accessLog ? files.follow((line) => write(`${line}\n`)) : undefined
    await aborted(signal)
    stop?.()
    return codes.interrupted
  },
  echo(words, _shell, { write }) {
    write(`${words.join(' ')}\n`)
    return 0
  },
  whoami(_words, { account }, { write }) {
    write(`${account}\n`)
    return 0
  },
  hostname(_words, _shell, { write }) {
    write('web1\n')
    return 0
  },
  pwd(_words, { account }, { write }) {
    write(`/web1/${account}\n`)
    return 0
  },
  date(_words, { clock }, { write }) {
    write(`${new Date(clock.wallMs()).toUTCString()}\n`)
    return 0
  },
  uptime(_words, { clock, startedMs }, { write }) {
    const minutes = Math.floor((clock.monotonicMs() - startedMs) / 60_000)
    write(`up ${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')} (a stand-in)\n`)
    return 0
  },
  true: () => 0,
  false: () => codes.failed,
  async sleep([text = ''], { clock }, { complain, signal }) {
    const ms = millisecondsOf(text)
    if (ms === undefined) return usage('sleep SECONDS', complain)
    await sleep(clock, ms, signal).catch(() => undefined)
    return signal.aborted ? codes.interrupted : 0
  },
  async timeout([text = '', ...words], shell, streams) {
    const ms = millisecondsOf(text)
    if (ms === undefined || words.length === 0) {
      return usage('timeout SECONDS COMMAND…', streams.complain)
    }
    const deadline = startDeadline(shell.clock, ms)
    const signal = AbortSignal.any([streams.signal, deadline.signal])
    const code = await runWords(words, shell, { ...streams, signal })
    deadline.cancel()
    return deadline.signal.aborted ? codes.timedOut : code
  },
}

/** A path below the home, which is where everybody is. */
function plain(path: string): string {
  return path
    .replace(/^(?:~|\/web1\/\w+)(?=\/|$)/, '')
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')
}

function millisecondsOf(text: string): number | undefined {
  if (!/^\d{1,5}(\.\d{1,3})?$/.test(text)) return undefined
  return Math.min(Number(text), sleepSecondsMax) * 1_000
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

function absent(command: string, path: string, complain: Streams['complain']): number {
  complain(`${command}: ${path}: there is no such file\n`)
  return codes.failed
}

function usage(text: string, complain: Streams['complain']): number {
  complain(`usage: ${text}\n`)
  return codes.usage
}
