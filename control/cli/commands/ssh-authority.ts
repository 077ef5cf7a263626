import { Argument, type Command } from 'commander'
import type { Answer } from '../../api/routes.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { formatKnownHosts } from '../ssh/known-hosts.ts'
import { withApi } from '../with-api.ts'

type Which = keyof Answer<'sshAuthorities'>

/** What each is for, and where its line goes. */
const hints: Readonly<Record<Which, readonly string[]>> = {
  upstream: [
    'for the servers behind the proxies: each of these lines into /etc/ssh/sallyport-upstream.pub, and into sshd_config',
    '  TrustedUserCAKeys /etc/ssh/sallyport-upstream.pub',
    '  AuthorizedPrincipalsFile none',
    'The accounts that levels name have to exist there. Trust no other authority of Sallyport on a server.',
  ],
  hosts: ['for known_hosts of clients; sally ssh-config writes it'],
  people: [
    'only proxies trust it, and they know it already; a server that did could be reached around them',
  ],
}

/** `sally ssh-authority upstream|hosts|people` */
export function declareSshAuthority(command: Command, cli: Cli): void {
  command
    .addArgument(
      new Argument(
        '<which>',
        'upstream: who signs sessions; hosts: proxies; people: logins',
      ).choices(['upstream', 'hosts', 'people']),
    )
    .addHelpText(
      'after',
      '\nA server behind a proxy:' +
        '\n  sally ssh-authority upstream > sallyport-upstream.pub' +
        '\n  scp sallyport-upstream.pub root@web1:/etc/ssh/' +
        '\nthere, in sshd_config: TrustedUserCAKeys /etc/ssh/sallyport-upstream.pub; then: systemctl reload ssh' +
        '\nits own key for the resources file: ssh-keyscan -t ed25519 web1',
    )
    .action(async (which: Which) => {
      const { keys, domain } = await withApi(cli, async ({ api, home }) => ({
        keys: (await api.call('sshAuthorities'))[which],
        domain: home.config.domain,
      }))
      const text = which === 'hosts' ? formatKnownHosts(domain, keys).trimEnd() : keys.join('\n')
      cli.answer({ which, keys, text }, () => text.split('\n').map(printable).join('\n'))
      for (const hint of hints[which]) cli.note(cli.paintNote(hint, 'dim'))
    })
}
