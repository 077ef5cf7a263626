import type { Command } from 'commander'
import type { SessionView } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { idLines, shortIds } from '../short-ids.ts'
import { relativeTime, shortBytes } from '../show-time.ts'
import { formatDuration } from '../../api/duration.ts'
import type { Cell } from '../table.ts'
import { withApi } from '../with-api.ts'

interface SessionsOptions extends PageOptions {
  live?: boolean
  ids?: boolean
  person?: string
  resource?: string
}

/** `sally sessions [--live --person --resource]` */
export function declareSessions(command: Command, cli: Cli): void {
  addPageOptions(
    command
      .option('--live', 'only those that are open')
      .option('--person <email>', 'only of this person')
      .option('--resource <name>', 'only of this resource')
      .option('--ids', 'only their ids, one a line'),
  ).action(async (options: SessionsOptions) => {
    const filter = {
      state: options.live === true ? ('live' as const) : ('all' as const),
      ...(options.person === undefined ? {} : { person: options.person }),
      ...(options.resource === undefined ? {} : { resource: options.resource }),
    }
    const page = await withApi(cli, ({ api, progress }) =>
      readPages<SessionView, { items: SessionView[]; next: string | null }>(
        options,
        (query) => api.call('sessions', { query: { ...query, ...filter } }),
        (count) => progress.update(`reading sessions, ${count}`),
      ),
    )
    cli.answer(page, () => {
      if (options.ids === true) return idLines(page.items)
      return page.items.length === 0
        ? `no ${options.live === true ? 'live ' : ''}sessions`
        : showSessions(cli, page.items)
    })
    noteMore(cli, page)
  })
}

function showSessions(cli: Cli, sessions: readonly SessionView[]): string {
  const nowMs = cli.clock.wallMs()
  const recorded = sessions.some(({ recordings }) => (recordings ?? 0) > 0)
  const short = shortIds(sessions.map(({ id }) => id))
  return cli.table(
    [
      { header: 'SESSION' },
      { header: 'PERSON', shrinks: true, widthMin: 12 },
      { header: 'RESOURCE', shrinks: true, widthMin: 9 },
      { header: 'LEVEL' },
      { header: 'STATE', shrinks: true, widthMin: 13 },
      { header: 'OPENED' },
      { header: 'LASTED', align: 'right', spare: 1 },
      { header: 'STATEMENTS', align: 'right', spare: 2 },
      ...(recorded ? [{ header: 'RECORDINGS', align: 'right' as const, spare: 2 }] : []),
      { header: 'DOWN', align: 'right', spare: 3 },
      { header: 'FROM', shrinks: true, widthMin: 9, spare: 4 },
    ],
    sessions.map((session) => [
      short(session.id),
      session.personEmail,
      session.resource,
      session.level,
      stateCell(session),
      relativeTime(session.openedAtMs, nowMs),
      formatDuration((session.closedAtMs ?? nowMs) - session.openedAtMs),
      session.statements,
      ...(recorded ? [session.recordings ?? 0] : []),
      shortBytes(session.bytesDown),
      session.remoteAddress,
    ]),
  )
}

function stateCell(session: SessionView): Cell {
  if (session.state === 'live') return { text: 'live', style: 'green' }
  if (session.cut !== null) return { text: `cut: ${session.cut.reason}`, style: 'red' }
  return { text: session.endReason ?? 'closed', style: 'dim' }
}
