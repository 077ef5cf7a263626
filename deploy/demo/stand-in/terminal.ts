import { createInterface } from 'node:readline'
import { Transform } from 'node:stream'
import type { ServerChannel } from 'ssh2'
import { channelText } from './channel-text.ts'
import { runLine, standInBanner, type Shell, type Streams } from './run-line.ts'

export interface Size {
  readonly columns: number
  readonly rows: number
}

const lineBytesMax = 4_096
const linesWaitingMax = 100

/** A shell on a channel: with a prompt, echo and editing where there is a terminal (`size`), else plain lines. Resolves with its code. */
export function runShell(
  channel: ServerChannel,
  shell: Shell,
  size: Size | undefined,
): { resized: (size: Size) => void; ended: Promise<number> } {
  const ended = Promise.withResolvers<number>()
  const { write, complain } = channelText(channel, size !== undefined)
  const input = channel.pipe(bounded())
  const lines = createInterface({
    input,
    ...(size === undefined ? {} : { output: Object.assign(channel, size), historySize: 100 }),
    terminal: size !== undefined,
    prompt: `${shell.account}@web1 (stand-in):~$ `,
    crlfDelay: Infinity,
  })
  const waiting: string[] = []
  let running: AbortController | undefined
  let isOver = false
  let code = 0
  const next = async (): Promise<void> => {
    for (let line = waiting.shift(); line !== undefined; line = waiting.shift()) {
      running = new AbortController()
      const streams: Streams = { write, complain, signal: running.signal }
      const end = await runLine(line, shell, streams)
      code = end.code
      await drained(channel)
      if (end.leaves) return leave()
    }
    running = undefined
    if (isOver) leave()
    else if (size !== undefined) lines.prompt()
  }
  const leave = (): void => {
    waiting.length = 0
    isOver = true
    ended.resolve(code)
    lines.close()
  }
  lines.on('line', (line) => {
    if (waiting.length >= linesWaitingMax) return
    waiting.push(line)
    if (running === undefined) next().catch(ended.reject)
  })
  lines.on('SIGINT', () => {
    write('^C\n')
    if (running !== undefined) return running.abort()
    // Whatever was typed is forgotten.
    lines.write(null, { ctrl: true, name: 'e' })
    lines.write(null, { ctrl: true, name: 'u' })
    lines.prompt()
  })
  // Without a listener readline would stop this process, not the one of somebody's terminal.
  lines.on('SIGTSTP', () => undefined)
  lines.on('close', () => {
    isOver = true
    if (running === undefined) leave()
  })
  channel.on('close', () => {
    waiting.length = 0
    isOver = true
    running?.abort()
    lines.close()
    ended.resolve(code)
  })
  if (size !== undefined) {
    write(standInBanner)
    lines.prompt()
  }
  const resized = (changed: Size): void => {
    Object.assign(channel, changed).emit('resize')
  }
  return { resized, ended: ended.promise }
}

/** Who does not read what commands print gets no more of them run. */
function drained(channel: ServerChannel): Promise<void> {
  if (!channel.writableNeedDrain || channel.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    channel.once('drain', resolve)
    channel.once('close', () => resolve())
  })
}

/** Drops what is too much for one line: who sends it gets no bigger buffer here. */
function bounded(): Transform {
  let bytes = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const kept = chunk.filter((byte) => {
        const ends = byte === 0x0d || byte === 0x0a || byte === 0x03 || byte === 0x15
        bytes = ends ? 0 : bytes + 1
        return bytes <= lineBytesMax
      })
      done(null, kept)
    },
  })
}
