import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findByPrefix } from '../find-by-prefix.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally token revoke TOKEN --reason TEXT` */
export function declareTokenRevoke(command: Command, cli: Cli): void {
  command
    .argument('<id>', 'id of the token (not the token itself), or its first characters')
    .addOption(reasonOption())
    .action(async (text: string, options: { reason: string }) => {
      const token = await withApi(cli, async ({ api }) => {
        const { id } = await findByPrefix<{ id: string }>(text, {
          what: 'token',
          listedBy: 'sally token list --state all',
          one: (whole) => Promise.resolve({ id: whole }),
          page: (query) => api.call('tokens', { query: { ...query, state: 'all' } }),
        })
        return api.call('tokenRevoke', { params: { id }, body: { reason: options.reason } })
      })
      cli.answer(
        token,
        () => `revoked: a token of ${printable(token.personEmail)}\ntoken ${token.id}`,
      )
    })
}
