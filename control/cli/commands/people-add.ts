import { Option, type Command } from 'commander'
import type { Role } from '../../api/names.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

const roleNames: Record<Role, true> = { engineer: true, admin: true, auditor: true }

/** `sally people add EMAIL [--name NAME] [--role ROLE…] [--group GROUP…]` */
export function declarePeopleAdd(command: Command, cli: Cli): void {
  command
    .argument('<email>', 'e-mail address')
    .option('--name <name>', 'how they are called')
    .addOption(
      new Option('--role <role...>', 'what they are')
        .choices(Object.keys(roleNames))
        .default(['engineer']),
    )
    .option('--group <group...>', 'groups of theirs, for the access flows')
    .action(async (email: string, options: { name?: string; role: Role[]; group?: string[] }) => {
      const body = {
        email,
        roles: [...new Set(options.role)],
        groups: [...new Set(options.group)],
        ...(options.name === undefined ? {} : { name: options.name }),
      }
      const person = await withApi(cli, ({ api }) => api.call('personCreate', { body }))
      cli.answer(person, () => `added: ${printable(person.email)} as ${person.roles.join(', ')}`)
      cli.note(
        cli.paintNote(
          `let them sign in: sally people certificate ${printable(person.email)} --home DIR`,
          'dim',
        ),
      )
    })
}
