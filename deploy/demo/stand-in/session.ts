import type { ServerChannel, Session } from 'ssh2'
import { channelText } from './channel-text.ts'
import { runLine, standInBanner, type Shell } from './run-line.ts'
import { runShell, type Size } from './terminal.ts'

const unavailable = 128
const commandCharactersMax = 4_096
/** Of signals that end a program (RFC 4254, 6.10). */
const endingSignals = ['ABRT', 'ALRM', 'HUP', 'INT', 'KILL', 'PIPE', 'QUIT', 'TERM']

/** Serves one channel of somebody who is signed in: a shell, a command, or the word that there is nothing else. */
export function serveSession(session: Session, shell: Shell, mayHaveTerminal: boolean): void {
  let size: Size | undefined
  let resized = (_size: Size): void => undefined
  let interrupt = (_signal: string): void => undefined
  session.on('pty', (accept, reject, { cols, rows }) => {
    // Each is undefined where the client wants no answer.
    if (!mayHaveTerminal) return (reject as typeof reject | undefined)?.()
    size = sizeOf(cols, rows)
    ;(accept as typeof accept | undefined)?.()
  })
  session.on('window-change', (accept, _reject, { cols, rows }) => {
    if (size !== undefined) size = sizeOf(cols, rows)
    ;(accept as typeof accept | undefined)?.()
    if (size !== undefined) resized(size)
  })
  session.on('signal', (accept, _reject, { name }) => {
    ;(accept as typeof accept | undefined)?.()
    if (endingSignals.includes(name)) interrupt(name)
  })
  session.on('shell', (accept) => {
    const channel = accept()
    const running = runShell(channel, shell, size)
    resized = running.resized
    interrupt = (signal) => endBySignal(channel, signal)
    running.ended.then(
      (code) => end(channel, code),
      () => channel.destroy(),
    )
  })
  session.on('exec', (accept, _reject, { command }) => {
    const channel = accept()
    const stopping = new AbortController()
    interrupt = (signal) => {
      endBySignal(channel, signal)
      stopping.abort()
    }
    channel.on('close', () => stopping.abort())
    runCommand(channel, command, shell, size !== undefined, stopping).then(
      (code) => end(channel, code),
      () => channel.destroy(),
    )
  })
  session.on('subsystem', (accept, _reject, { name }) => {
    const channel = accept()
    channelText(channel, false).complain(`there is no ${name.slice(0, 32)} here. ${standInBanner}`)
    end(channel, unavailable)
  })
}

/** Zero: the client does not know (RFC 4254, 6.2). */
function sizeOf(columns: number, rows: number): Size {
  return { columns: columns || 80, rows: rows || 24 }
}

async function runCommand(
  channel: ServerChannel,
  command: string,
  shell: Shell,
  hasTerminal: boolean,
  stopping: AbortController,
): Promise<number> {
  const streams = { ...channelText(channel, hasTerminal), signal: stopping.signal }
  channel.on('data', (chunk: Buffer) => {
    if (hasTerminal && chunk.includes(0x03)) {
      streams.write('^C\n')
      stopping.abort()
    }
  })
  if (command.length > commandCharactersMax) {
    streams.complain('the command is too long for a stand-in\n')
    return unavailable
  }
  return (await runLine(command, shell, streams)).code
}

function end(channel: ServerChannel, code: number): void {
  if (channel.destroyed || channel.writableEnded) return
  channel.exit(code)
  channel.end()
}

function endBySignal(channel: ServerChannel, signal: string): void {
  if (channel.destroyed || channel.writableEnded) return
  channel.exit(signal, false, '')
  channel.end()
}
