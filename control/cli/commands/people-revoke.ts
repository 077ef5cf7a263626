import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findPerson } from '../find-person.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally people revoke EMAIL --reason TEXT` */
export function declarePeopleRevoke(command: Command, cli: Cli): void {
  command
    .argument('<email>', 'e-mail address')
    .addOption(reasonOption())
    .action(async (email: string, options: { reason: string }) => {
      const person = await withApi(cli, async ({ api }) => {
        const { id } = await findPerson(api, email)
        return api.call('personRevoke', { params: { id }, body: { reason: options.reason } })
      })
      const name = printable(person.email)
      cli.answer(person, () => `revoked: ${name}; their sessions are being cut`)
      cli.note(cli.paintNote(`to undo it: sally people restore ${name} --reason TEXT`, 'dim'))
    })
}
