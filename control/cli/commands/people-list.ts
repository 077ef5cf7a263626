import type { Command } from 'commander'
import type { Person } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally people list` */
export function declarePeopleList(command: Command, cli: Cli): void {
  addPageOptions(command).action(async (options: PageOptions) => {
    const page = await withApi(cli, ({ api, progress }) =>
      readPages<Person, { items: Person[]; next: string | null }>(
        options,
        (query) => api.call('people', { query }),
        (count) => progress.update(`reading people, ${count}`),
      ),
    )
    const nowMs = cli.clock.wallMs()
    cli.answer(page, () =>
      cli.table(
        [
          { header: 'E-MAIL', shrinks: true },
          { header: 'NAME', shrinks: true },
          { header: 'ROLES' },
          { header: 'STATE' },
          { header: 'ADDED' },
          { header: 'ID' },
        ],
        page.items.map((person) => [
          person.email,
          person.name,
          person.roles.join(','),
          { text: person.state, style: person.state === 'active' ? 'green' : 'red' },
          relativeTime(person.createdAtMs, nowMs),
          person.id,
        ]),
      ),
    )
    noteMore(cli, page)
  })
}
