import { Option, type Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

interface ProxyGroupOptions {
  sshFrom?: string[]
  sshFromSeen?: true
}

/** `sally proxy group GROUP [--ssh-from ADDRESS… | --ssh-from-seen]` */
export function declareProxyGroup(command: Command, cli: Cli): void {
  command
    .argument('<group>', 'name of the group')
    .addOption(
      new Option(
        '--ssh-from <address...>',
        'where servers see its proxies come from (addresses, or networks as 203.0.113.0/28)',
      ).conflicts('sshFromSeen'),
    )
    .option('--ssh-from-seen', 'they come from where control sees them')
    .addHelpText(
      'after',
      '\nCertificates for sessions of SSH are good only from there. Sessions that are open go on.',
    )
    .action(async (name: string, { sshFrom, sshFromSeen }: ProxyGroupOptions) => {
      const sshSourceAddresses = sshFromSeen === true ? [] : sshFrom
      const group = await withApi(cli, async ({ api }) => {
        if (sshSourceAddresses !== undefined) {
          return api.call('groupChange', { params: { name }, body: { sshSourceAddresses } })
        }
        const { items } = await api.call('groups')
        const found = items.find((each) => each.name === name)
        if (found !== undefined) return found
        throw new SallyportError('not-found', `no proxy group ${name}`, {
          clientMessage: `there is no proxy group ${JSON.stringify(name)}`,
          hint: 'sally proxy list shows them',
        })
      })
      const from = group.sshSourceAddresses
      cli.answer(group, () =>
        [
          `group ${printable(group.name)}: *.${printable(group.domain)}, proxies: ${group.proxies.length}`,
          `servers of SSH see it come from: ${from.length === 0 ? 'where control sees it' : from.map(printable).join(', ')}`,
        ].join('\n'),
      )
    })
}
