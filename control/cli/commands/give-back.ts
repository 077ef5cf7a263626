import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { resourceName, type Level } from '../../api/names.ts'
import type { Grant } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { findGrant } from '../find-grant.ts'
import { levelOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

interface GiveBackOptions {
  level?: Level
  reason?: string
}

/** `sally give-back GRANT|RESOURCE [--level L] [--reason TEXT]` */
export function declareGiveBack(command: Command, cli: Cli): void {
  command
    .argument('<grant-or-resource>', 'a grant of yours (its first characters do), or a resource')
    .addOption(levelOption('of a resource only the grants at this level'))
    .option('--reason <text>', 'why; it is kept in the audit')
    .addHelpText(
      'after',
      '\nOf a resource all your live grants are given back. Their sessions are cut.',
    )
    .action(async (text: string, options: GiveBackOptions) => {
      const body = options.reason === undefined ? {} : { reason: options.reason }
      const items = await withApi(cli, async ({ api, home }) => {
        const given: Grant[] = []
        for (const { id } of await findGrants(api, home.config.email, text, options.level)) {
          given.push(await api.call('grantGiveBack', { params: { id }, body }))
        }
        return given
      })
      cli.answer({ items, next: null }, () =>
        items
          .map(({ id, level, resource }) => {
            return `given back: ${level} on ${printable(resource)}\ngrant ${id}`
          })
          .join('\n'),
      )
    })
}

/** What names a resource is not taken for the beginning of an id, unless there is no such grant. */
async function findGrants(
  api: ApiClient,
  person: string,
  text: string,
  level: Level | undefined,
): Promise<readonly Grant[]> {
  if (!resourceName.safeParse(text).success) return [await findGrant(api, text)]
  const query = { person, resource: text, state: 'live', limit: 1_000 } as const
  const { items } = await api.call('grants', { query })
  const found = items.filter((grant) => level === undefined || grant.level === level)
  if (found.length > 0) return found
  if (items.length === 0 && /^[0-9a-f-]{6,36}$/.test(text)) return [await findGrant(api, text)]
  throw new SallyportError('not-found', `no live grant on ${text}`, {
    clientMessage: `you have no live grant ${level === undefined ? '' : `at level ${level} `}on ${JSON.stringify(text)}`,
    hint: 'sally grants --mine shows what you have',
  })
}
