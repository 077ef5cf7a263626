import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Level } from '../../api/names.ts'
import type { Cli } from '../cli.ts'
import { explainNoGrant } from '../explain-no-grant.ts'
import { levelOption } from '../options.ts'
import { printable } from '../printable.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally token connect RESOURCE [--level L]` */
export function declareTokenConnect(command: Command, cli: Cli): void {
  command
    .argument('<resource>', 'name of the resource')
    .addOption(levelOption('only for your grant of this level'))
    .addHelpText(
      'after',
      '\nThe token alone is on standard output. It is good once, for five minutes.\n\nExample:' +
        '\n  PGPASSWORD=$(sally token connect orders-db) psql "host=… user=you@example.com~orders-db …"',
    )
    .action(async (resource: string, options: { level?: Level }) => {
      const { level } = options
      const body = { resource, ...(level === undefined ? {} : { level }) }
      const { answer, home } = await withApi(cli, async ({ api, home }) => {
        try {
          return { answer: await api.call('connectTokenMake', { body }), home }
        } catch (error) {
          if (!(error instanceof SallyportError) || error.code !== 'not-found') throw error
          throw await explainNoGrant(api, resource, level)
        }
      })
      cli.answer(answer, () => printable(answer.token))
      const { config, files } = home
      const { postgres } = config.proxyPorts
      const lines = [
        `the password of one connection; it ends ${relativeTime(answer.expiresAtMs, cli.clock.wallMs())}`,
        `  host       ${printable(answer.hostname)}`,
        ...(config.proxyHost === undefined ? [] : [`  at         ${printable(config.proxyHost)}`]),
        ...(postgres === undefined ? [] : [`  port       ${postgres}`]),
        `  user       ${printable(answer.user)}`,
        `  TLS        verify-full, root certificate ${files.serverAuthorities}`,
      ]
      for (const line of lines) cli.note(cli.paintNote(line, 'dim'))
    })
}
