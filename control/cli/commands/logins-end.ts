import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findByPrefix } from '../find-by-prefix.ts'
import { reasonOption } from '../options.ts'
import { withApi } from '../with-api.ts'

/** `sally logins end LOGIN --reason TEXT` */
export function declareLoginsEnd(command: Command, cli: Cli): void {
  command
    .argument('<id>', 'id of the sign-in, or its first characters')
    .addOption(reasonOption())
    .addHelpText(
      'after',
      '\nIts certificates are revoked, and sessions that it let in are cut. The person can sign in again: to keep them out, sally people revoke.',
    )
    .action(async (text: string, { reason }: { reason: string }) => {
      const id = await withApi(cli, async ({ api }) => {
        const found = await findByPrefix<{ id: string }>(text, {
          what: 'sign-in',
          listedBy: 'sally logins',
          one: (whole) => Promise.resolve({ id: whole }),
          page: (query) => api.call('logins', { query: { ...query, state: 'all' } }),
        })
        await api.call('loginEnd', { params: { id: found.id }, body: { reason } })
        return found.id
      })
      cli.answer({ done: true, id }, () => `ended\nsign-in ${id}`)
    })
}
