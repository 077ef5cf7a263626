import { Option, type Command } from 'commander'
import type { ListedLogin } from '../../api/login-view.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { shortIds } from '../short-ids.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

interface LoginsOptions extends PageOptions {
  person?: string
  state: 'live' | 'all'
}

/** `sally logins [--person EMAIL --state STATE]` */
export function declareLogins(command: Command, cli: Cli): void {
  addPageOptions(
    command
      .option('--person <email>', 'only of this person')
      .addOption(
        new Option('--state <state>', 'all: also those that are over')
          .choices(['live', 'all'])
          .default('live'),
      ),
  ).action(async (options: LoginsOptions) => {
    const filter = {
      state: options.state,
      ...(options.person === undefined ? {} : { person: options.person }),
    }
    const page = await withApi(cli, ({ api, progress }) =>
      readPages<ListedLogin, { items: ListedLogin[]; next: string | null }>(
        options,
        (query) => api.call('logins', { query: { ...query, ...filter } }),
        (count) => progress.update(`reading sign-ins, ${count}`),
      ),
    )
    cli.answer(page, () => showLogins(cli, page.items))
    noteMore(cli, page)
  })
}

function showLogins(cli: Cli, logins: readonly ListedLogin[]): string {
  if (logins.length === 0) return 'no sign-ins'
  const nowMs = cli.clock.wallMs()
  const short = shortIds(logins.map(({ id }) => id))
  return cli.table(
    [
      { header: 'SIGN-IN' },
      { header: 'PERSON', shrinks: true },
      { header: 'MADE WITH', shrinks: true },
      { header: 'STATE' },
      { header: 'BEGUN' },
      { header: 'ENDS' },
    ],
    logins.map((login) => [
      short(login.id),
      login.personEmail,
      login.proxyName === null ? 'sally login' : `a terminal at ${login.proxyName}`,
      { text: login.state, style: login.state === 'live' ? 'green' : 'dim' },
      relativeTime(login.begunAtMs, nowMs),
      relativeTime(login.endedAtMs ?? login.endsAtMs, nowMs),
    ]),
  )
}
