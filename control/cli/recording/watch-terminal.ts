import type { ApiClient } from '../../api/client.ts'
import { restoreTerminal } from '../../terminal/harmless-output.ts'
import type { RecordingView } from '../../api/recording-shapes.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { listenToKeys } from './keys.ts'
import { clearTerminal, noteSize, stateWords } from './play-interactively.ts'
import { printPlainly } from './print-plainly.ts'
import { readFrames } from './read-frames.ts'
import { writeTerminal } from './write-terminal.ts'
import { TerminalEvents } from './terminal-events.ts'

/** Shows a recording as it grows: first all that there is, at once. Ends with it, or with `q`. */
export async function watchTerminal(
  cli: Cli,
  api: ApiClient,
  recording: RecordingView,
): Promise<void> {
  const stop = new AbortController()
  const { sessionId: session, number } = recording
  const pages = readFrames(cli, api, { session, number, follow: stop.signal })
  if (!process.stdout.isTTY || !process.stdin.isTTY || cli.json) {
    await printPlainly(cli, pages, 0)
    return
  }
  noteSize(cli, recording)
  const events = new TerminalEvents({ lineFeeds: recording.kind === 'stream' })
  const asked = Promise.withResolvers<'stopped'>()
  const keys = listenToKeys((key) => {
    if (key !== 'q' && key !== 'interrupt') return
    stop.abort()
    asked.resolve('stopped')
  })
  let latest = recording
  try {
    process.stdout.write(clearTerminal)
    for (;;) {
      // A page that is waited for does not keep whoever wants to leave.
      const page = await Promise.race([pages.next(), asked.promise])
      if (page === 'stopped' || page.done === true) break
      latest = page.value.recording
      let text = ''
      for (const frame of page.value.frames) {
        const event = events.of(frame)
        if (event?.kind === 'output') text += event.text
      }
      if (text !== '') writeTerminal(text)
    }
  } finally {
    keys.close()
    process.stdout.write(`${restoreTerminal}\n`)
  }
  const what = printable(latest.title ?? 'the recording')
  cli.note(cli.paintNote(`${what}: ${stateWords(latest)}`, 'dim'))
}
