import type { Command } from 'commander'
import type { ApiClient } from '../../api/client.ts'
import type { RecordingView } from '../../api/recording-shapes.ts'
import type { Cli } from '../cli.ts'
import { findSession } from '../find-session.ts'
import { CastEvents, castHeader } from '../recording/cast.ts'
import { chooseRecording } from '../recording/choose-recording.ts'
import { openPrivateLines } from '../recording/private-lines.ts'
import { readFrames } from '../recording/read-frames.ts'
import { TerminalEvents } from '../recording/terminal-events.ts'
import { stateWords } from '../recording/play-interactively.ts'
import { shortBytes } from '../show-time.ts'
import { withApi } from '../with-api.ts'

interface ExportOptions {
  recording?: string
  output: string
  hidden?: boolean
  raw?: boolean
}

/** `sally sessions export SESSION --output FILE.cast [--recording N --hidden --raw]` */
export function declareSessionsExport(command: Command, cli: Cli): void {
  command
    .argument('<session>', 'id of the session, or its first characters')
    .requiredOption('-o, --output <file>', 'where to write it (mode 0600)')
    .option('--recording <n>', 'which one of the session; not needed where it has one')
    .option('--hidden', 'also what was typed unseen; that is a reading of its own')
    .option('--raw', 'as the program wrote it, with what could change the terminal it is played on')
    .addHelpText(
      'after',
      '\nWrites asciicast v3, for asciinema. Recordings are for auditors; that you read one is in the audit.',
    )
    .action(async (text: string, options: ExportOptions) => {
      const done = await withApi(cli, async ({ api, progress }) => {
        const { id } = await findSession(api, text, 'all')
        const recording = await chooseRecording(api, id, options.recording)
        return exportCast(cli, api, recording, options, (bytes) =>
          progress.update(`reading, ${shortBytes(bytes)}`),
        )
      })
      const { file, events, recording } = done
      cli.answer(done, () => `${events} events in ${file}; the recording ${stateWords(recording)}`)
    })
}

async function exportCast(
  cli: Cli,
  api: ApiClient,
  chosen: RecordingView,
  options: ExportOptions,
  reading: (bytes: number) => void,
) {
  const pages = readFrames(cli, api, {
    ...{ session: chosen.sessionId, number: chosen.number, hidden: options.hidden === true },
  })
  const file = openPrivateLines(options.output)
  try {
    let translator: TerminalEvents | undefined
    let latest = chosen
    let bytes = 0
    let events = 0
    const cast = new CastEvents()
    for await (const { recording, frames } of pages) {
      latest = recording
      if (translator === undefined) file.write(castHeader(recording))
      const lineFeeds = recording.kind === 'stream'
      translator ??= new TerminalEvents({ lineFeeds, raw: options.raw === true })
      for (const frame of frames) {
        bytes += frame.bytes.length
        const event = translator.of(frame)
        if (event === undefined) continue
        file.write(cast.line(event))
        events += 1
      }
      reading(bytes)
    }
    const status = latest.exitStatus
    if (status !== null) {
      file.write(cast.exit(latest.lastedUs, status))
      events += 1
    }
    file.finish()
    return { file: options.output, events, recording: latest }
  } catch (error) {
    file.abandon()
    throw error
  }
}
