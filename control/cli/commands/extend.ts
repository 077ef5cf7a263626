import type { Command } from 'commander'
import { parseDuration } from '../../api/duration.ts'
import type { Cli } from '../cli.ts'
import { findGrant } from '../find-grant.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally extend GRANT --for DURATION --reason TEXT` */
export function declareExtend(command: Command, cli: Cli): void {
  command
    .argument('<grant>', 'id of the grant, or its first characters')
    .requiredOption('--for <duration>', 'how much longer: 45s, 15m, 8h, 1h30m')
    .addOption(reasonOption())
    .action(async (text: string, options: { for: string; reason: string }) => {
      const body = { byMs: parseDuration(options.for), reason: options.reason }
      const grant = await withApi(cli, async ({ api }) => {
        const { id } = await findGrant(api, text)
        return api.call('grantExtend', { params: { id }, body })
      })
      cli.answer(grant, () => {
        const ends = `${localTime(grant.expiresAtMs)} (${relativeTime(grant.expiresAtMs, cli.clock.wallMs())})`
        return `${printable(grant.personEmail)} has ${grant.level} on ${printable(grant.resource)} until ${ends}\ngrant ${grant.id}, revision ${grant.revision}`
      })
    })
}
