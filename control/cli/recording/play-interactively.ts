/** A recording on a person's terminal, with keys. */
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { formatDuration } from '../../api/duration.ts'
import type { RecordingView } from '../../api/recording-shapes.ts'
import { restoreTerminal } from '../../terminal/harmless-output.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import type { Progress } from '../progress.ts'
import { shortBytes } from '../show-time.ts'
import { listenToKeys } from './keys.ts'
import { Playback } from './playback.ts'
import type { FramePage } from './read-frames.ts'
import { writeTerminal } from './write-terminal.ts'
import { TerminalEvents, type TerminalEvent } from './terminal-events.ts'

export interface PlayOptions {
  readonly fromUs: number
  readonly speed: number
  readonly idleLimitUs: number
}

/** A recording is held in memory while it plays. */
const heldBytesMax = 256 * 1024 * 1024
const seekUs = 5_000_000
export const clearTerminal = `${restoreTerminal}\u001b[2J\u001b[H`

/** Resolves when it was played, or `q` was pressed. */
export async function playInteractively(
  cli: Cli,
  pages: AsyncIterable<FramePage>,
  { fromUs, speed, idleLimitUs }: PlayOptions,
  progress: Progress,
): Promise<void> {
  const events: TerminalEvent[] = []
  let recording: RecordingView | undefined
  let translator: TerminalEvents | undefined
  let bytes = 0
  for await (const page of pages) {
    recording = page.recording
    translator ??= new TerminalEvents({ lineFeeds: recording.kind === 'stream' })
    for (const frame of page.frames) {
      bytes += frame.bytes.length
      const event = translator.of(frame)
      if (event !== undefined) events.push(event)
    }
    progress.update(`reading, ${shortBytes(bytes)}`)
    if (bytes > heldBytesMax) {
      throw new SallyportError('usage', 'the recording is too long to play', {
        clientMessage: `the recording has more than ${shortBytes(heldBytesMax)}: too much to play at once`,
        hint: `sally sessions export ${recording.sessionId} --recording ${recording.number} --output FILE writes it into a file`,
      })
    }
  }
  // From here on the terminal is the recording's.
  progress.end()
  if (recording === undefined) return
  noteSize(cli, recording)
  await play(cli, recording, events, { fromUs, speed, idleLimitUs })
}

/** A screen of another size wraps elsewhere. */
export function noteSize(cli: Cli, { columns, rows }: RecordingView): void {
  const { columns: here, rows: high } = process.stdout
  if (columns === null || rows === null || (columns <= here && rows <= high)) return
  const wanted = `recorded on a terminal of ${columns} × ${rows}; this one has ${here} × ${high}`
  cli.note(cli.paintNote(`${wanted}, and may look wrong`, 'yellow'))
}

async function play(
  cli: Cli,
  recording: RecordingView,
  events: readonly TerminalEvent[],
  { fromUs, speed, idleLimitUs }: PlayOptions,
): Promise<void> {
  const over = Promise.withResolvers<void>()
  const write = writeTerminal
  const playback = new Playback({
    ...{ clock: cli.clock, events, speed, idleLimitUs, write, clear: clearTerminal },
    onEnd: () => over.resolve(),
  })
  // While it is set, keys go into a search.
  let search: string | undefined
  let last = ''
  const showSearch = (line: string): void => {
    const row = process.stdout.rows || 24
    write(`${restoreTerminal}\u001b[${row};1H\u001b[2K${printable(line)}`)
  }
  const findNext = (): void => {
    playback.redraw()
    if (last !== '' && !playback.find(last)) showSearch(`nothing more of ${last}; space goes on`)
  }
  const searching = (key: string): void => {
    if (search === undefined) return
    if (key === 'enter') {
      last = search
      search = undefined
      findNext()
    } else if (key === 'escape' || key === 'interrupt') {
      search = undefined
      playback.redraw()
    } else {
      if (key === 'backspace') search = search.slice(0, -1)
      else if (key.length <= 2) search += key
      showSearch(`/${search}`)
    }
  }
  const keys = listenToKeys((key) => {
    if (search !== undefined) {
      searching(key)
      return
    }
    switch (key) {
      case 'q':
      case 'interrupt':
        over.resolve()
        break
      case ' ':
        if (playback.paused) playback.play()
        else playback.pause()
        break
      case 'right':
      case 'left':
        playback.seek(playback.positionUs + (key === 'right' ? seekUs : -seekUs))
        break
      case '+':
      case '-':
        playback.faster(key === '+' ? 2 : 0.5)
        break
      case '.':
        playback.step()
        break
      case ']':
      case '[':
        playback.toMark(key === ']' ? 1 : -1)
        break
      case '/':
        playback.pause()
        search = ''
        showSearch('/')
        break
      case 'n':
        findNext()
        break
    }
  })
  try {
    write(clearTerminal)
    if (fromUs > 0) playback.seek(playback.placeOf(fromUs))
    playback.play()
    await over.promise
  } finally {
    playback.stop()
    keys.close()
    process.stdout.write(`${restoreTerminal}\n`)
  }
  cli.note(cli.paintNote(`recording ${recording.number} ${stateWords(recording)}`, 'dim'))
}

/** How it ended, for people. */
export function stateWords({ state, lastedUs, lostBytes }: RecordingView): string {
  const lasted = `after ${formatDuration(lastedUs / 1_000)}`
  const lost = lostBytes > 0 ? `, and ${shortBytes(lostBytes)} could not be written` : ''
  switch (state) {
    case 'live':
      return `goes on, ${lasted} so far`
    case 'sealed':
      return `ended ${lasted}; its digest fits${lost}`
    case 'broken':
      return `ended ${lasted}, and its digest does not fit`
    case 'ended-with-proxy':
      return `ended with its proxy ${lasted}`
    case 'ended':
      return `ended ${lasted}; its digest has not arrived`
  }
}
