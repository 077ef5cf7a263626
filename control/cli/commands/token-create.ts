import { Option, type Command } from 'commander'
import type { TokenScope } from '../../api/names.ts'
import type { Cli } from '../cli.ts'
import { parseTokenDuration } from '../parse-token-duration.ts'
import { printable } from '../printable.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

const does: Readonly<Record<TokenScope, string>> = {
  read: 'reads',
  request: 'reads, and makes requests',
  apps: 'reaches apps',
}

/** `sally token create --name N [--scope read|request|apps] [--for 30d]` */
export function declareTokenCreate(command: Command, cli: Cli): void {
  command
    .requiredOption('--name <name>', 'what it is for')
    .addOption(
      new Option('--scope <scope>', 'read, or also make and withdraw requests; or reach apps')
        .choices(['read', 'request', 'apps'])
        .default('read'),
    )
    .option('--for <duration>', 'how long it is good; at most 90d', '30d')
    .addHelpText(
      'after',
      '\nThe token alone is on standard output, this once. Scripts send it to control:' +
        '\n  curl --cacert ~/.sallyport/control-ca.pem -H "Authorization: Bearer $TOKEN" https://…/v1/grants' +
        '\nor, of scope apps, to an app that you have a grant for:' +
        '\n  curl --cacert ~/.sallyport/ca.pem -H "Authorization: Bearer $TOKEN" https://wiki.access.example.com/',
    )
    .action(async (options: { name: string; scope: TokenScope; for: string }) => {
      const { name, scope } = options
      const body = { name, scope, forMs: parseTokenDuration(options.for) }
      const made = await withApi(cli, ({ api }) => api.call('tokenMake', { body }))
      cli.answer(made, () => printable(made.token))
      const ends = relativeTime(made.expiresAtMs, cli.clock.wallMs())
      cli.note(
        cli.paintNote(
          `it ${does[scope]} as you, and ends ${ends}; sooner: sally token revoke ${made.id} --reason TEXT`,
          'dim',
        ),
      )
    })
}
