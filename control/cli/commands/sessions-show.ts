import type { Command } from 'commander'
import type { RecordingView } from '../../api/recording-shapes.ts'
import type { SessionView } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { findSession } from '../find-session.ts'
import { printable } from '../printable.ts'
import { localTime, shortBytes, shortDuration } from '../show-time.ts'
import type { Cell } from '../table.ts'
import { withApi } from '../with-api.ts'

/** `sally sessions show SESSION` */
export function declareSessionsShow(command: Command, cli: Cli): void {
  command
    .argument('<session>', 'id of the session, or its first characters')
    .action(async (text: string) => {
      const { session, recordings } = await withApi(cli, async ({ api }) => {
        const found = await findSession(api, text, 'all')
        const { items } = await api.call('recordings', { params: { id: found.id } })
        return { session: found, recordings: items }
      })
      cli.answer({ session, recordings }, () =>
        [...sessionLines(session), '', ...recordingLines(cli, recordings)].join('\n'),
      )
    })
}

function sessionLines(session: SessionView): string[] {
  const { endReason, cut } = session
  const how = cut === null ? (endReason ?? 'closed') : `cut: ${cut.reason}`
  const closed =
    session.closedAtMs === null ? 'live' : `until ${localTime(session.closedAtMs)}, ${how}`
  const rows: [string, string][] = [
    ['session', session.id],
    ['person', session.personEmail],
    [
      'resource',
      `${session.resource} (${session.protocol}), ${session.level} as ${session.account}`,
    ],
    ['grant', session.grantId],
    ['from', session.remoteAddress],
    ['opened', localTime(session.openedAtMs)],
    ['state', closed],
    ['statements', String(session.statements)],
    ['bytes', `${shortBytes(session.bytesUp)} up, ${shortBytes(session.bytesDown)} down`],
  ]
  return rows.map(([name, value]) => `${name.padEnd(12)}${printable(value)}`)
}

function recordingLines(cli: Cli, recordings: readonly RecordingView[]): string[] {
  if (recordings.length === 0) return ['no recordings']
  return [
    cli.table(
      [
        { header: 'RECORDING', align: 'right' },
        { header: 'KIND' },
        { header: 'STATE' },
        { header: 'LASTED', align: 'right' },
        { header: 'SIZE', align: 'right' },
        { header: 'TERMINAL' },
        { header: 'WHAT', shrinks: true },
      ],
      recordings.map((recording) => [
        recording.number,
        recording.kind,
        stateCell(recording),
        shortDuration(recording.lastedUs),
        shortBytes(recording.bytes),
        recording.columns === null ? '' : `${recording.columns} × ${recording.rows ?? '?'}`,
        recording.title ?? (recording.deleted ? 'deleted' : 'for auditors'),
      ]),
    ),
  ]
}

function stateCell({ state }: RecordingView): Cell {
  if (state === 'live') return { text: 'live', style: 'green' }
  if (state === 'broken') return { text: 'digest does not fit', style: 'red' }
  if (state === 'ended-with-proxy') return { text: 'ended with its proxy', style: 'yellow' }
  return { text: state, style: 'dim' }
}
