import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findByPrefix } from '../find-by-prefix.ts'
import { withApi } from '../with-api.ts'

/** `sally ssh-key remove KEY` */
export function declareSshKeyRemove(command: Command, cli: Cli): void {
  command
    .argument('<id>', 'id of the key, or its first characters')
    .addHelpText('after', '\nSessions that the key let in are cut.')
    .action(async (text: string) => {
      const id = await withApi(cli, async ({ api }) => {
        const found = await findByPrefix<{ id: string }>(text, {
          what: 'key',
          listedBy: 'sally ssh-key list',
          one: (whole) => Promise.resolve({ id: whole }),
          page: (query) => api.call('sshKeys', { query }),
        })
        await api.call('sshKeyRemove', { params: { id: found.id } })
        return found.id
      })
      cli.answer({ done: true, id }, () => `removed: it identifies nobody any more\nkey ${id}`)
    })
}
