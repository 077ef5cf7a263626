import type { Command } from 'commander'
import { sleep } from '../../../protocols/kit/clock.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { formatDuration } from '../../api/duration.ts'
import type { Answer } from '../../api/routes.ts'
import type { RecordingView } from '../../api/recording-shapes.ts'
import type { ActivityView, SessionView } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { counted } from '../counted.ts'
import { findSession } from '../find-session.ts'
import { isOutage } from '../is-outage.ts'
import { outcomeCell, parametersText, statementText } from '../show-activity.ts'
import { chooseRecording } from '../recording/choose-recording.ts'
import { watchTerminal } from '../recording/watch-terminal.ts'
import { printable } from '../printable.ts'
import { localTime, shortDuration } from '../show-time.ts'
import { textWidth, truncateToWidth } from '../text-width.ts'
import { withApi } from '../with-api.ts'

const waitMs = 5_000
/** The end of the grant is looked at this often: an extension moves it. */
const grantEveryMs = 5_000
const hastyMs = 500
/** Control may be away for so long. */
const awayMsMax = 60_000

/** `sally sessions watch SESSION` */
export function declareSessionsWatch(command: Command, cli: Cli): void {
  command
    .argument('<session>', 'id of the session, or its first characters')
    .option('--recording <n>', 'this recording of the session')
    .option('--statements', 'each statement or command, also where there is a terminal')
    .addHelpText(
      'after',
      '\nShows the terminal of an SSH session as it goes on (q ends), else each statement with its outcome; ends with the' +
        '\nsession. This is for auditors; that you watched is in the audit. With --json: one JSON value a line, each with' +
        '\nits "event".',
    )
    .action(async (text: string, options: WatchOptions) => {
      await withApi(cli, async ({ api, progress }) => {
        const session = await findWatchable(api, text)
        const recording = await watchedRecording(api, session, options)
        if (recording !== undefined) {
          progress.end()
          await watchTerminal(cli, api, recording)
          return
        }
        const first = await api.call('sessionWatch', { params: { id: session.id }, query: {} })
        progress.end()
        await follow(cli, api, first)
      })
    })
}

interface WatchOptions {
  recording?: string
  statements?: boolean
}

/** The terminal that goes on, the newest of several; undefined where statements are to be shown. */
async function watchedRecording(
  api: ApiClient,
  session: SessionView,
  { recording, statements }: WatchOptions,
): Promise<RecordingView | undefined> {
  if (statements === true) return undefined
  if (recording !== undefined) return chooseRecording(api, session.id, recording)
  if ((session.recordings ?? 0) === 0) return undefined
  const { items } = await api.call('recordings', { params: { id: session.id } })
  return items.findLast(({ kind, state }) => kind === 'terminal' && state === 'live')
}

/** A prefix is meant for a live session, if it fits one. */
async function findWatchable(api: ApiClient, text: string): Promise<SessionView> {
  try {
    return await findSession(api, text, 'live')
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'not-found') throw error
    return findSession(api, text, 'all')
  }
}

async function follow(cli: Cli, api: ApiClient, first: Answer<'sessionWatch'>): Promise<void> {
  const { clock } = cli
  const readEnd = async (): Promise<number> =>
    (await api.call('grant', { params: { id: first.session.grantId } })).expiresAtMs
  let expiresAtMs = await readEnd()
  let readAtMs = clock.monotonicMs()
  cli.event({ event: 'session', session: first.session, grantExpiresAtMs: expiresAtMs }, () =>
    opening(first.session, expiresAtMs - clock.wallMs()),
  )
  let page = first
  for (;;) {
    for (const activity of page.items) {
      cli.event({ event: 'activity', activity }, () => activityLine(cli, activity, expiresAtMs))
    }
    if (page.ended) break
    const cursor = page.next
    const { id } = page.session
    const askedAtMs = clock.monotonicMs()
    page = await patiently(cli, () =>
      api.call('sessionWatch', { params: { id }, query: { cursor, waitMs } }),
    )
    // A control with too many watches, or one that stops, answers without waiting.
    const hasty = page.items.length === 0 && clock.monotonicMs() - askedAtMs < hastyMs
    if (hasty && !page.ended) await sleep(clock, 2 * hastyMs)
    if (clock.monotonicMs() - readAtMs < grantEveryMs || page.ended) continue
    readAtMs = clock.monotonicMs()
    const endMs = await patiently(cli, readEnd)
    if (endMs === expiresAtMs) continue
    expiresAtMs = endMs
    cli.event({ event: 'grant', grantExpiresAtMs: endMs }, () =>
      cli.paint(`the grant now ends at ${localTime(endMs)}`, 'yellow'),
    )
  }
  cli.event({ event: 'ended', session: page.session }, () => closing(cli, page.session))
}

/** Asks again while control is away: a watch goes on where it was. */
async function patiently<T>(cli: Cli, ask: () => Promise<T>): Promise<T> {
  const endMs = cli.clock.monotonicMs() + awayMsMax
  for (let told = false; ; told = true) {
    try {
      return await ask()
    } catch (error) {
      if (!isOutage(error) || cli.clock.monotonicMs() >= endMs) throw error
      if (!told) cli.note(cli.paintNote('control does not answer; trying again', 'yellow'))
      await sleep(cli.clock, 1_000)
    }
  }
}

function opening(session: SessionView, leftMs: number): string {
  const { personEmail, resource, level, remoteAddress, openedAtMs } = session
  return printable(
    `${personEmail} on ${resource}, ${level}, from ${remoteAddress}, since ${localTime(openedAtMs)}; ` +
      (leftMs > 0 ? `the grant ends in ${formatDuration(leftMs)}` : 'the grant has ended'),
  )
}

/** When, time left of the grant, how it went, rows, how long it took, what it was. */
function activityLine(cli: Cli, activity: ActivityView, expiresAtMs: number): string {
  const atMs = activity.atUs / 1_000
  const { outcome } = activity
  const { text, style } = outcomeCell(activity)
  const left = `${formatDuration(Math.max(0, expiresAtMs - cli.clock.wallMs()))} left`
  const rows = outcome === null || outcome.rows === null ? '' : counted(outcome.rows, 'row')
  const took = outcome === null ? '' : shortDuration(outcome.durationUs)
  const parameters = activity.parameters.length === 0 ? '' : `  -- ${parametersText(activity)}`
  const before = `${localTime(atMs).slice(11)}  ${left.padEnd(12)}  `
  const after = `  ${rows.padStart(8)}  ${took.padStart(6)}  `
  const how = printable(text).padEnd(11)
  const what = printable(`${statementText(activity)}${parameters}`)
  const width = textWidth(before) + textWidth(how) + textWidth(after)
  const fitting = cli.columns === undefined ? what : truncateToWidth(what, cli.columns - width)
  return `${before}${cli.paint(how, style)}${after}${fitting}`
}

function closing(cli: Cli, session: SessionView): string {
  const lastedMs = (session.closedAtMs ?? session.openedAtMs) - session.openedAtMs
  const why =
    session.cut === null ? `ended: ${session.endReason ?? 'closed'}` : `cut: ${session.cut.reason}`
  const counted = `${session.statements} statement${session.statements === 1 ? '' : 's'}`
  return cli.paint(
    printable(`${why}, after ${formatDuration(lastedMs)} and ${counted}`),
    session.cut === null ? 'dim' : 'red',
  )
}
