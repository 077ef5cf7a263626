import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { parseDuration } from '../../api/duration.ts'
import type { Level } from '../../api/names.ts'
import { answerRequest, settle, type Made } from '../answer-request.ts'
import type { Cli } from '../cli.ts'
import { levelOption } from '../options.ts'
import { withApi } from '../with-api.ts'
import { withHint } from '../with-hint.ts'

interface RequestOptions {
  level: Level
  for?: string
  reason?: string
  wait?: boolean
}

/** `sally request RESOURCE --level L [--for D] [--reason TEXT] [--wait]` */
export function declareRequest(command: Command, cli: Cli): void {
  command
    .argument('<resource>', 'name of the resource')
    .addOption(levelOption('what you want to do there').makeOptionMandatory())
    .option('--for <duration>', 'how long, from the yes on: 15m, 8h, 1h30m (default: the flow’s)')
    .option('--reason <text>', 'why; approvers read it, and it is kept in the audit')
    .option('--wait', 'wait for the decision')
    .addHelpText(
      'after',
      '\nsally why RESOURCE says who would have to say yes. With --wait the exit code is 0 for a yes, 3 for a no,' +
        '\n8 if nobody answered, 1 if it was withdrawn. Asked again with --wait, it waits for what was asked already.',
    )
    .action(async (resource: string, options: RequestOptions) => {
      const body = {
        resource,
        level: options.level,
        ...(options.for === undefined ? {} : { forMs: parseDuration(options.for) }),
        ...(options.reason === undefined ? {} : { reason: options.reason }),
      }
      const made = await withApi(cli, async (work) => {
        const asked = await ask(work.api, body, options.wait === true)
        return settle(cli, work, asked, options.wait === true)
      })
      answerRequest(cli, made)
    })
}

const toSee = 'sally resources shows what you may reach and what you may ask for'

/** Who was interrupted while waiting asks again: then the request that waits already is theirs. */
async function ask(
  api: ApiClient,
  body: { resource: string; level: Level; forMs?: number; reason?: string },
  wait: boolean,
): Promise<Made> {
  try {
    return await api.call('requestMake', { body })
  } catch (error) {
    if (!wait || !(error instanceof SallyportError) || error.code !== 'conflict') {
      throw withHint(error, 'not-found', toSee)
    }
    const { pending } = await api.call('why', { params: { name: body.resource } })
    const same = pending.find(({ kind, level, mine }) => {
      return kind === 'access' && level === body.level && mine === 'asked'
    })
    if (same === undefined) throw error
    return { request: same, grant: null }
  }
}
