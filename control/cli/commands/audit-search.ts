import type { Command } from 'commander'
import { formatDuration } from '../../api/duration.ts'
import type { Answer } from '../../api/routes.ts'
import type { ActivityView } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { addFilterOptions, readFilter, type FilterOptions } from '../search-filter.ts'
import { outcomeCell, parametersText, shownText, statementText } from '../show-activity.ts'
import { localTime, shortDuration } from '../show-time.ts'
import { withApi } from '../with-api.ts'

interface SearchOptions extends PageOptions, FilterOptions {
  oldest?: boolean
}
/** Behind by more than this, a search may miss what a person just saw happen. */
const lagWorthSayingMs = 2_000

/** `sally audit search [TEXT] [--person --resource --session --level --outcome --since --until --oldest --limit --all]` */
export function declareAuditSearch(command: Command, cli: Cli): void {
  command
    .argument(
      '[text]',
      'part of the statement or request, or of what a terminal showed; upper and lower case are the same',
    )
    .option('--oldest', 'oldest first')
  addPageOptions(addFilterOptions(command)).action(
    async (text: string | undefined, options: SearchOptions) => {
      const page = await withApi(cli, async ({ api, progress }) => {
        const filter = {
          order: options.oldest === true ? ('oldest' as const) : ('newest' as const),
          ...(text === undefined ? {} : { text }),
          ...(await readFilter(api, options, cli.clock.wallMs())),
        }
        return readPages<ActivityView, Answer<'auditSearch'>>(
          options,
          (query) => api.call('auditSearch', { query: { ...query, ...filter } }),
          (count) => progress.update(`searching, ${count} found`),
        )
      })
      cli.answer(page, () =>
        page.items.length === 0 ? 'nothing found' : showActivities(cli, page.items, text ?? ''),
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
    },
  )
}

function showActivities(cli: Cli, activities: readonly ActivityView[], wanted: string): string {
  return cli.table(
    [
      { header: 'AT' },
      { header: 'PERSON', shrinks: true, widthMin: 10 },
      { header: 'RESOURCE', shrinks: true, widthMin: 9, spare: 4 },
      { header: 'LEVEL', spare: 1 },
      { header: 'OUTCOME' },
      { header: 'ROWS', align: 'right', spare: 2 },
      { header: 'TOOK', align: 'right', spare: 3 },
      { header: 'STATEMENT', shrinks: true, widthMin: 24 },
      { header: 'PARAMETERS', shrinks: true, widthMin: 10, spare: 5 },
    ],
    activities.map((activity) => [
      localTime(activity.atUs / 1_000),
      activity.personEmail,
      activity.resource,
      activity.level,
      outcomeCell(activity),
      activity.outcome?.rows ?? '',
      activity.outcome === null ? '' : shortDuration(activity.outcome.durationUs),
      activity.recording === undefined ? statementText(activity) : shownText(activity, wanted),
      parametersText(activity),
    ]),
  )
}
