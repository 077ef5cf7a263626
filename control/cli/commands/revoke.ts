import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findGrant } from '../find-grant.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally revoke GRANT --reason TEXT` */
export function declareRevoke(command: Command, cli: Cli): void {
  command
    .argument('<grant>', 'id of the grant, or its first characters')
    .addOption(reasonOption())
    .action(async (text: string, options: { reason: string }) => {
      const grant = await withApi(cli, async ({ api }) => {
        const { id } = await findGrant(api, text)
        return api.call('grantRevoke', { params: { id }, body: { reason: options.reason } })
      })
      cli.answer(
        grant,
        () =>
          `revoked: ${printable(grant.personEmail)} no longer has ${grant.level} on ${printable(grant.resource)}\ngrant ${grant.id}`,
      )
      cli.note(
        cli.paintNote(
          `its sessions are being cut: sally sessions --person ${printable(grant.personEmail)}`,
          'dim',
        ),
      )
    })
}
