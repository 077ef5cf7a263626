import { Option, type Command } from 'commander'
import { formatDuration } from '../../api/duration.ts'
import type { Answer } from '../../api/routes.ts'
import type { ActivityView } from '../../api/shapes.ts'
import type { Level } from '../../api/names.ts'
import type { Cli } from '../cli.ts'
import { findSession } from '../find-session.ts'
import { levelOption } from '../options.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { parseMoment } from '../parse-moment.ts'
import { outcomeCell, parametersText, statementText } from '../show-activity.ts'
import { localTime, shortDuration } from '../show-time.ts'
import { withApi } from '../with-api.ts'

interface SearchOptions extends PageOptions {
  person?: string
  resource?: string
  session?: string
  level?: Level
  outcome?: (typeof outcomes)[number]
  since?: string
  until?: string
  oldest?: boolean
}
const outcomes = ['ok', 'error', 'skipped', 'cancelled', 'unknown', 'running'] as const
/** Behind by more than this, a search may miss what a person just saw happen. */
const lagWorthSayingMs = 2_000

/** `sally audit search [TEXT] [--person --resource --session --level --outcome --since --until --oldest --limit --all]` */
export function declareAuditSearch(command: Command, cli: Cli): void {
  addPageOptions(
    command
      .argument('[text]', 'part of the statement; upper and lower case are the same')
      .option('--person <email>', 'only of this person')
      .option('--resource <name>', 'only on this resource')
      .option('--session <id>', 'only of this session (its first characters do)')
      .addOption(levelOption('only under grants of this level'))
      .addOption(new Option('--outcome <how>', 'only what went like this').choices(outcomes))
      .option('--since <when>', 'so long ago (1h) or from a moment (2026-03-01T14:00:00Z) on')
      .option('--until <when>', 'up to a moment, in the same forms')
      .option('--oldest', 'oldest first'),
  ).action(async (text: string | undefined, options: SearchOptions) => {
    const nowMs = cli.clock.wallMs()
    const filter = {
      order: options.oldest === true ? ('oldest' as const) : ('newest' as const),
      ...(text === undefined ? {} : { text }),
      ...(options.person === undefined ? {} : { person: options.person }),
      ...(options.resource === undefined ? {} : { resource: options.resource }),
      ...(options.level === undefined ? {} : { level: options.level }),
      ...(options.outcome === undefined ? {} : { outcome: options.outcome }),
      ...(options.since === undefined ? {} : { since: parseMoment(options.since, nowMs) }),
      ...(options.until === undefined ? {} : { until: parseMoment(options.until, nowMs) }),
    }
    const page = await withApi(cli, async ({ api, progress }) => {
      const session =
        options.session === undefined
          ? {}
          : { session: (await findSession(api, options.session, 'all')).id }
      return readPages<ActivityView, Answer<'auditSearch'>>(
        options,
        (query) => api.call('auditSearch', { query: { ...query, ...filter, ...session } }),
        (count) => progress.update(`searching, ${count} found`),
      )
    })
    cli.answer(page, () =>
      page.items.length === 0 ? 'nothing found' : showActivities(cli, page.items),
    )
    noteMore(cli, page)
    if (page.indexLagMs > lagWorthSayingMs) {
      const lag = formatDuration(page.indexLagMs)
      cli.note(
        cli.paintNote(
          `the index is ${lag} behind; what is newer is stored and will appear`,
          'yellow',
        ),
      )
    }
  })
}

function showActivities(cli: Cli, activities: readonly ActivityView[]): string {
  return cli.table(
    [
      { header: 'AT' },
      { header: 'PERSON', shrinks: true },
      { header: 'RESOURCE', shrinks: true },
      { header: 'LEVEL' },
      { header: 'OUTCOME' },
      { header: 'ROWS', align: 'right' },
      { header: 'TOOK', align: 'right' },
      { header: 'STATEMENT', shrinks: true },
      { header: 'PARAMETERS', shrinks: true },
    ],
    activities.map((activity) => [
      localTime(activity.atUs / 1_000),
      activity.personEmail,
      activity.resource,
      activity.level,
      outcomeCell(activity),
      activity.outcome?.rows ?? '',
      activity.outcome === null ? '' : shortDuration(activity.outcome.durationUs),
      statementText(activity),
      parametersText(activity),
    ]),
  )
}
