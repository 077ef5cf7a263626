import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findSession } from '../find-session.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally sessions cut SESSION --reason TEXT` */
export function declareSessionsCut(command: Command, cli: Cli): void {
  command
    .argument('<session>', 'id of the session, or its first characters')
    .addOption(reasonOption())
    .action(async (text: string, options: { reason: string }) => {
      const session = await withApi(cli, async ({ api }) => {
        const found = await findSession(api, text, 'live')
        const body = { reason: options.reason }
        await api.call('sessionCut', { params: { id: found.id }, body })
        return found
      })
      cli.answer(
        { done: true, id: session.id },
        () =>
          `cut: ${printable(session.personEmail)} on ${printable(session.resource)}\nsession ${session.id}`,
      )
      cli.note(
        cli.paintNote('the grant goes on, so they can connect again; sally revoke ends it', 'dim'),
      )
    })
}
