import type { Command } from 'commander'
import type { Answer } from '../../api/routes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { localTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

type Actions = Answer<'auditActions'>

/** `sally audit actions` */
export function declareAuditActions(command: Command, cli: Cli): void {
  addPageOptions(command).action(async (options: PageOptions) => {
    const page = await withApi(cli, ({ api, progress }) =>
      readPages<Actions['items'][number], Actions>(
        options,
        (query) => api.call('auditActions', { query }),
        (count) => progress.update(`reading actions, ${count}`),
      ),
    )
    cli.answer(page, () =>
      page.items.length === 0
        ? 'no actions yet'
        : cli.table(
            [
              { header: 'AT' },
              { header: 'ACTION' },
              { header: 'BY', shrinks: true, widthMin: 12 },
              { header: 'TARGET', shrinks: true },
              { header: 'FROM', shrinks: true, widthMin: 9, spare: 2 },
              { header: 'DETAILS', shrinks: true, widthMin: 16, spare: 1 },
            ],
            page.items.map((action) => [
              localTime(action.atMs),
              action.action,
              action.actorEmail,
              action.target,
              action.remoteAddress,
              action.details === null ? '' : JSON.stringify(action.details),
            ]),
          ),
    )
    noteMore(cli, page)
  })
}
