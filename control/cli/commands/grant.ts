import type { Command } from 'commander'
import { parseDuration } from '../../api/duration.ts'
import type { Level } from '../../api/names.ts'
import type { Cli } from '../cli.ts'
import { levelOption, reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally grant PERSON RESOURCE --level L --for DURATION --reason TEXT` */
export function declareGrant(command: Command, cli: Cli): void {
  command
    .argument('<person>', 'e-mail address')
    .argument('<resource>', 'name of the resource')
    .addOption(levelOption('what they may do').makeOptionMandatory())
    .requiredOption('--for <duration>', 'how long, from now: 45s, 15m, 8h, 1h30m')
    .addOption(reasonOption())
    .action(
      async (
        person: string,
        resource: string,
        options: { level: Level; for: string; reason: string },
      ) => {
        const body = {
          person,
          resource,
          level: options.level,
          forMs: parseDuration(options.for),
          reason: options.reason,
        }
        const grant = await withApi(cli, ({ api }) => api.call('grantMake', { body }))
        cli.answer(grant, () => {
          const until = `${localTime(grant.expiresAtMs)} (${relativeTime(grant.expiresAtMs, cli.clock.wallMs())})`
          const who = `${printable(grant.personEmail)} has ${cli.paint(grant.level, 'bold')}`
          return `${who} on ${printable(grant.resource)} until ${until}\ngrant ${grant.id}`
        })
        cli.note(
          cli.paintNote(`they connect with: sally connect ${printable(grant.resource)}`, 'dim'),
        )
      },
    )
}
