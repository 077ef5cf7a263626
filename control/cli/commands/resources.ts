import type { Command } from 'commander'
import type { ResourceView } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
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
  })
}

function showResources(cli: Cli, resources: readonly ResourceView[]): string {
  if (resources.length === 0) {
    return 'nothing that you can reach\nan admin lets you in: sally grant YOU RESOURCE --level read --for 1h --reason TEXT'
  }
  return cli.table(
    [
      { header: 'RESOURCE' },
      { header: 'PROTOCOL' },
      { header: 'LEVELS' },
      { header: 'HOST', shrinks: true },
      { header: 'TAGS', shrinks: true },
      { header: 'DESCRIPTION', shrinks: true },
    ],
    resources.map((resource) => [
      { text: resource.name, style: 'bold' },
      resource.protocol,
      resource.levels.join(','),
      resource.hostname,
      Object.entries(resource.tags)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
      resource.description ?? '',
    ]),
  )
}
