import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findPerson } from '../find-person.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally people restore EMAIL --reason TEXT` */
export function declarePeopleRestore(command: Command, cli: Cli): void {
  command
    .argument('<email>', 'e-mail address')
    .addOption(reasonOption())
    .action(async (email: string, options: { reason: string }) => {
      const person = await withApi(cli, async ({ api }) => {
        const { id } = await findPerson(api, email)
        return api.call('personRestore', { params: { id }, body: { reason: options.reason } })
      })
      const name = printable(person.email)
      cli.answer(person, () => `restored: ${name}; certificates from before stay revoked`)
      cli.note(cli.paintNote(`a new one: sally people certificate ${name} --home DIR`, 'dim'))
    })
}
