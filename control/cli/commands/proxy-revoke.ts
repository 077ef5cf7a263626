import type { Command } from 'commander'
import { findByPrefix } from '../find-by-prefix.ts'
import type { Cli } from '../cli.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally proxy revoke PROXY --reason TEXT` */
export function declareProxyRevoke(command: Command, cli: Cli): void {
  command
    .argument('<proxy>', 'id of the proxy, or its first characters')
    .addOption(reasonOption())
    .addHelpText(
      'after',
      '\nFor good: it hears nothing more of control within five seconds, and ships nothing more of its audit.' +
        '\nWhat runs through it goes on as its outage policy says: stop it on its machine as well.' +
        '\nIn its place a new one joins: sally proxy join-token',
    )
    .action(async (text: string, { reason }: { reason: string }) => {
      const proxy = await withApi(cli, async ({ api }) => {
        const list = async () => (await api.call('groups')).items.flatMap((each) => each.proxies)
        const found = await findByPrefix<{ id: string; name: string }>(text, {
          what: 'proxy',
          listedBy: 'sally proxy list',
          one: async (id) => (await list()).find((each) => each.id === id) ?? { id, name: '' },
          page: async () => ({ items: await list(), next: null }),
        })
        await api.call('proxyRevoke', { params: { id: found.id }, body: { reason } })
        return found
      })
      const { id, name } = proxy
      cli.answer({ done: true, id }, () => `revoked: proxy ${printable(name)}\nproxy ${id}`)
      cli.note(cli.paintNote('stop it on its machine; a new one: sally proxy join-token', 'dim'))
    })
}
