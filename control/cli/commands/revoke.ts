import type { Command } from 'commander'
import type { Grant } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { findGrant } from '../find-grant.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'

/** `sally revoke GRANT… --reason TEXT`: as many as are given, in their order; a mistake among them revokes none. */
export function declareRevoke(command: Command, cli: Cli): void {
  command
    .argument('<grant...>', 'ids of grants, or their first characters')
    .addOption(reasonOption())
    .action(async (texts: readonly string[], { reason }: { reason: string }) => {
      const items = await withApi(cli, async ({ api }) => {
        const ids = new Set<string>()
        for (const text of texts) ids.add((await findGrant(api, text)).id)
        const revoked: Grant[] = []
        for (const id of ids) {
          revoked.push(await api.call('grantRevoke', { params: { id }, body: { reason } }))
        }
        return revoked
      })
      cli.answer(items.length === 1 ? items[0] : { items }, () =>
        items.map(revokedLines).join('\n'),
      )
      const people = new Set(items.map(({ personEmail }) => printable(personEmail)))
      for (const email of people) {
        const told = `sessions are being cut: sally sessions --person ${email}`
        cli.note(cli.paintNote(told, 'dim'))
      }
    })
}

function revokedLines({ id, personEmail, level, resource }: Grant): string {
  return `revoked: ${printable(personEmail)} no longer has ${level} on ${printable(resource)}\ngrant ${id}`
}
