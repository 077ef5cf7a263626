import type { Command } from 'commander'
import type { Person } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { findPerson } from '../find-person.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally people revoke EMAIL --reason TEXT` */
export function declarePeopleRevoke(command: Command, cli: Cli): void {
  declareChange(command, cli, 'personRevoke', (name) => ({
    done: `revoked: ${name}; their sessions are being cut`,
    next: `to undo it: sally people restore ${name} --reason TEXT`,
  }))
}

/** `sally people restore EMAIL --reason TEXT` */
export function declarePeopleRestore(command: Command, cli: Cli): void {
  declareChange(command, cli, 'personRestore', (name) => ({
    done: `restored: ${name}; certificates from before stay revoked`,
    next: `a new one: sally people certificate ${name} --home DIR`,
  }))
}

function declareChange(
  command: Command,
  cli: Cli,
  route: 'personRevoke' | 'personRestore',
  words: (name: string) => { done: string; next: string },
): void {
  command
    .argument('<email>', 'e-mail address')
    .addOption(reasonOption())
    .action(async (email: string, { reason }: { reason: string }) => {
      const person = await withApi(cli, async ({ api }): Promise<Person> => {
        const { id } = await findPerson(api, email)
        return api.call(route, { params: { id }, body: { reason } })
      })
      const { done, next } = words(printable(person.email))
      cli.answer(person, () => done)
      cli.note(cli.paintNote(next, 'dim'))
    })
}
