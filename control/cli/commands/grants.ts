import { Option, type Command } from 'commander'
import type { Grant } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { idLines, shortIds } from '../short-ids.ts'
import { relativeTime } from '../show-time.ts'
import type { Cell } from '../table.ts'
import { withApi } from '../with-api.ts'

interface GrantsOptions extends PageOptions {
  ids?: boolean
  person?: string
  resource?: string
  state: 'live' | 'ended' | 'revoked' | 'all'
  mine?: boolean
}

/** `sally grants [--person --resource --state --mine]` */
export function declareGrants(command: Command, cli: Cli): void {
  const states = ['live', 'ended', 'revoked', 'all']
  addPageOptions(
    command
      .option('--person <email>', 'only of this person')
      .option('--resource <name>', 'only of this resource')
      .addOption(
        new Option('--state <state>', 'only in this state').choices(states).default('live'),
      )
      .addOption(new Option('--mine', 'only your own').conflicts('person'))
      .option('--ids', 'only their ids, one a line'),
  ).action(async (options: GrantsOptions) => {
    const page = await withApi(cli, async ({ api, home, progress }) => {
      const person = options.mine === true ? home.config.email : options.person
      const filter = {
        state: options.state,
        ...(person === undefined ? {} : { person }),
        ...(options.resource === undefined ? {} : { resource: options.resource }),
      }
      return readPages<Grant, { items: Grant[]; next: string | null }>(
        options,
        (query) => api.call('grants', { query: { ...query, ...filter } }),
        (count) => progress.update(`reading grants, ${count}`),
      )
    })
    cli.answer(page, () =>
      options.ids === true ? idLines(page.items) : showGrants(cli, page.items, options.state),
    )
    noteMore(cli, page)
  })
}

function showGrants(cli: Cli, grants: readonly Grant[], state: string): string {
  if (grants.length === 0) {
    return `no ${state === 'all' ? '' : `${state} `}grants\nask for one: sally request RESOURCE --level read --reason TEXT --wait`
  }
  const nowMs = cli.clock.wallMs()
  const short = shortIds(grants.map(({ id }) => id))
  return cli.table(
    [
      { header: 'GRANT' },
      { header: 'PERSON', shrinks: true, widthMin: 12 },
      { header: 'RESOURCE', shrinks: true, widthMin: 9 },
      { header: 'LEVEL' },
      { header: 'STATE' },
      { header: 'ENDS' },
      { header: 'MADE BY', shrinks: true, widthMin: 12, spare: 1 },
      { header: 'REASON', shrinks: true, widthMin: 12 },
    ],
    grants.map((grant) => [
      short(grant.id),
      grant.personEmail,
      grant.resource,
      grant.level,
      stateCell(grant.state),
      relativeTime(grant.revokedAtMs ?? grant.expiresAtMs, nowMs),
      grant.madeBy,
      grant.reason,
    ]),
  )
}

function stateCell(state: Grant['state']): Cell {
  const styles = { live: 'green', ended: 'dim', revoked: 'red' } as const
  return { text: state, style: styles[state] }
}
