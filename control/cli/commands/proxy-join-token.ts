import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally proxy join-token [--group G]` */
export function declareProxyJoinToken(command: Command, cli: Cli): void {
  command
    .option('--group <name>', 'proxy group that it will join', 'default')
    .action(async (options: { group: string }) => {
      const params = { name: options.group }
      const answer = await withApi(cli, ({ api }) => api.call('joinToken', { params }))
      // The token alone on standard output, so that it can be piped to where it is needed.
      cli.answer(answer, () => printable(answer.token))
      const ends = relativeTime(answer.expiresAtMs, cli.clock.wallMs())
      cli.note(
        cli.paintNote(
          `for one proxy of group ${printable(options.group)}, once; it ends ${ends}`,
          'dim',
        ),
      )
    })
}
