import type { Command } from 'commander'
import { parseDuration } from '../../api/duration.ts'
import { answerRequest, settle } from '../answer-request.ts'
import type { Cli } from '../cli.ts'
import { findGrant } from '../find-grant.ts'
import { reasonOption } from '../options.ts'
import { printable } from '../printable.ts'
import { untilText } from '../request-words.ts'
import { withApi } from '../with-api.ts'

interface ExtendOptions {
  for: string
  reason: string
  wait?: boolean
}

/** `sally extend GRANT --for DURATION --reason TEXT [--wait]`: at once for admins, through the flow for engineers. */
export function declareExtend(command: Command, cli: Cli): void {
  command
    .argument('<grant>', 'id of the grant, or its first characters')
    .requiredOption('--for <duration>', 'how much longer: 45s, 15m, 8h, 1h30m')
    .addOption(reasonOption())
    .option('--wait', 'wait for the decision, where somebody has to say yes')
    .addHelpText(
      'after',
      '\nAdmins extend any grant at once. An engineer asks for their own through the flow, as sally request does,' +
        '\nwith the same exit codes. Live sessions go on.',
    )
    .action(async (text: string, options: ExtendOptions) => {
      const body = { byMs: parseDuration(options.for), reason: options.reason }
      await withApi(cli, async (work) => {
        const { api } = work
        const { person } = await api.call('whoami')
        const params = { id: (await findGrant(api, text)).id }
        if (!person.roles.includes('admin')) {
          const made = await api.call('extensionMake', { params, body })
          const settled = await settle(cli, work, made, options.wait === true)
          work.progress.end()
          answerRequest(cli, settled)
          return
        }
        const grant = await api.call('grantExtend', { params, body })
        work.progress.end()
        cli.answer(grant, () => {
          const ends = untilText(grant.expiresAtMs, cli.clock.wallMs())
          return `${printable(grant.personEmail)} has ${grant.level} on ${printable(grant.resource)} until ${ends}\ngrant ${grant.id}, revision ${grant.revision}`
        })
      })
    })
}
