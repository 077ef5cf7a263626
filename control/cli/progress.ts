/** One line on standard error for what takes longer than a second; only where somebody looks. */
import type { Timer } from '../../protocols/kit/clock.ts'
import type { Cli } from './cli.ts'

export interface Progress {
  /** What is being done now. */
  update(label: string): void
  /** Wipes the line, says this, and goes on. */
  note(line: string): void
  /** Wipes the line. To be called before anything else is written. */
  end(): void
}

const wipe = '\r\u001b[2K'
const quietMs = 1_000
const frameMs = 120
const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']

export function startProgress(cli: Cli, label: string): Progress {
  if (!cli.progressVisible) {
    return { update: () => undefined, note: (line) => cli.note(line), end: () => undefined }
  }
  const startedMs = cli.clock.monotonicMs()
  let current = label
  let frame = 0
  let shown = false
  const draw = (): void => {
    shown = true
    frame = (frame + 1) % frames.length
    const seconds = Math.floor((cli.clock.monotonicMs() - startedMs) / 1_000)
    cli.writeError(`${wipe}${frames[frame]} ${current} … ${seconds}s`)
    timer = cli.clock.startTimer(frameMs, draw)
  }
  let timer: Timer = cli.clock.startTimer(quietMs, draw)
  return {
    update(next) {
      current = next
    },
    note(line) {
      if (shown) cli.writeError(wipe)
      cli.note(line)
    },
    end() {
      timer.cancel()
      if (shown) cli.writeError(wipe)
      shown = false
    },
  }
}
