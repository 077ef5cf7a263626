import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parseTokenDuration } from '../parse-token-duration.ts'
import { printable } from '../printable.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally proxy-token [--for 1h]` */
export function declareProxyToken(command: Command, cli: Cli): void {
  command
    .option('--for <duration>', 'how long it is good; at most 90d', '1h')
    .addHelpText(
      'after',
      '\nThe token alone is on standard output, this once: a program that takes no client certificate shows it to the proxy.' +
        '\nIt reaches the apps that you have a grant for, and nothing of control.' +
        '\n\n  curl --cacert ~/.sallyport/ca.pem -H "Authorization: Bearer $(sally proxy-token)" https://wiki.access.example.com/api/echo' +
        '\n\nWhere the app wants an Authorization of its own, the header Sallyport-Authorization takes the token as well.',
    )
    .action(async (options: { for: string }) => {
      const forMs = parseTokenDuration(options.for)
      const body = { name: 'sally proxy-token', scope: 'apps' as const, forMs }
      const made = await withApi(cli, ({ api }) => api.call('tokenMake', { body }))
      cli.answer(made, () => printable(made.token))
      const ends = relativeTime(made.expiresAtMs, cli.clock.wallMs())
      const end = `it ends ${ends}; sooner: sally token revoke ${made.id} --reason TEXT`
      cli.note(cli.paintNote(end, 'dim'))
    })
}
