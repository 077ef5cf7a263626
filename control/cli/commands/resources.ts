import type { Command } from 'commander'
import type { ResourceView } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { printable } from '../printable.ts'
import type { Cell } from '../table.ts'
import { withApi } from '../with-api.ts'

/** `sally resources` */
export function declareResources(command: Command, cli: Cli): void {
  addPageOptions(command).action(async (options: PageOptions) => {
    const page = await withApi(cli, ({ api, progress }) =>
      readPages<ResourceView, { items: ResourceView[]; next: string | null }>(
        options,
        (query) => api.call('resources', { query }),
        (count) => progress.update(`reading resources, ${count}`),
      ),
    )
    cli.answer(page, () => showResources(cli, page.items))
    noteMore(cli, page)
    noteNext(cli, page.items)
  })
}

function showResources(cli: Cli, resources: readonly ResourceView[]): string {
  if (resources.length === 0) {
    return 'nothing that you can reach or ask for\nflows say who may ask: sally flows; an admin lets you in at once: sally grant YOU RESOURCE --level read --for 1h --reason TEXT'
  }
  // Who administers or audits may see what they may neither reach nor ask for.
  const isOurs = resources.some(({ reach, ask }) => reach.length + ask.length > 0)
  return cli.table(
    [
      { header: 'RESOURCE' },
      { header: 'PROTOCOL', spare: 1 },
      ...(isOurs ? [{ header: 'REACH NOW' }, { header: 'ASK FOR' }] : [{ header: 'LEVELS' }]),
      { header: 'HOST', shrinks: true, widthMin: 27 },
      { header: 'TAGS', shrinks: true, widthMin: 16, spare: 3 },
      { header: 'DESCRIPTION', shrinks: true, widthMin: 16, spare: 2 },
    ],
    resources.map((resource): Cell[] => [
      { text: resource.name, style: 'bold' },
      resource.protocol,
      ...(isOurs
        ? [{ text: resource.reach.join(','), style: 'green' } as const, resource.ask.join(',')]
        : [resource.levels.join(',')]),
      resource.hostname,
      Object.entries(resource.tags)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
      resource.description ?? '',
    ]),
  )
}

/** What to type next: connect where there is a grant, else ask. */
function noteNext(cli: Cli, resources: readonly ResourceView[]): void {
  const reached = resources.find(({ reach }) => reach.length > 0)
  const asked = resources.find(({ ask, reach }) => ask.some((level) => !reach.includes(level)))
  const steps = [
    ...(reached === undefined ? [] : [`sally connect ${printable(reached.name)}`]),
    ...(asked === undefined ? [] : [`sally why ${printable(asked.name)} says how to ask`]),
  ]
  if (steps.length > 0) cli.note(cli.paintNote(`next: ${steps.join('; ')}`, 'dim'))
}
