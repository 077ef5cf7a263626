import { Option, type Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { parseDuration } from '../../api/duration.ts'
import type { Cli } from '../cli.ts'
import { findSession } from '../find-session.ts'
import { chooseRecording } from '../recording/choose-recording.ts'
import { playInteractively } from '../recording/play-interactively.ts'
import { printPlainly } from '../recording/print-plainly.ts'
import { readFrames } from '../recording/read-frames.ts'
import { withApi } from '../with-api.ts'

interface ReplayOptions {
  recording?: string
  from?: string
  speed: string
  idleLimit?: string
  hidden?: boolean
}

/** `sally replay SESSION [--recording N --from 2m --speed 2 --idle-limit 2s --hidden]` */
export function declareReplay(command: Command, cli: Cli): void {
  command
    .argument('<session>', 'id of the session, or its first characters')
    .option('--recording <n>', 'which one of the session; not needed where it has one')
    .option('--from <duration>', 'begin there: 90s, 2m')
    .addOption(new Option('--speed <factor>', 'how fast').default('1'))
    .option('--idle-limit <duration>', 'cut longer pauses to this: 2s')
    .option('--hidden', 'with --json: also what was typed unseen; that is a reading of its own')
    .addHelpText(
      'after',
      '\nKeys: space pauses, left and right go 5 s, + and - change the speed, . shows the next event, [ and ] go to' +
        '\nmarks, / searches what was shown, n searches on, q ends. Where the output is no terminal, what was shown is' +
        '\nprinted as plain text. Recordings are for auditors; that you read one is in the audit.',
    )
    .action(async (session: string, options: ReplayOptions) => {
      const speed = parseSpeed(options.speed)
      const fromMs = options.from === undefined ? 0 : parseDuration(options.from)
      const idleLimitMs =
        options.idleLimit === undefined ? Infinity : parseDuration(options.idleLimit)
      if (options.hidden === true && !cli.json) {
        throw new SallyportError('usage', '--hidden without --json', {
          clientMessage: 'what was typed unseen is not shown on a terminal: --hidden needs --json',
          hint: `sally sessions export ${session} --hidden --output FILE writes it into a file`,
        })
      }
      await withApi(cli, async ({ api, progress }) => {
        const { id } = await findSession(api, session, 'all')
        const { number } = await chooseRecording(api, id, options.recording)
        const pages = readFrames(cli, api, {
          ...{ session: id, number, hidden: options.hidden === true },
          // A screen is made of all that came before.
          fromUs: cli.json ? fromMs * 1_000 : 0,
        })
        const onTerminal = process.stdout.isTTY && process.stdin.isTTY && !cli.json
        if (!onTerminal) {
          progress.end()
          await printPlainly(cli, pages, fromMs * 1_000)
          return
        }
        const played = { fromUs: fromMs * 1_000, speed, idleLimitUs: idleLimitMs * 1_000 }
        await playInteractively(cli, pages, played, progress)
      })
    })
}

function parseSpeed(text: string): number {
  const speed = Number(text)
  if (speed >= 0.1 && speed <= 64) return speed
  throw new SallyportError('usage', `not a speed: ${text}`, {
    clientMessage: `--speed ${JSON.stringify(text)} is not a number from 0.1 to 64`,
  })
}
