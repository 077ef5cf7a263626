import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findRequest } from '../find-request.ts'
import { outcomeLines } from '../request-words.ts'
import { withApi } from '../with-api.ts'

/** `sally withdraw REQUEST [--reason TEXT]` */
export function declareWithdraw(command: Command, cli: Cli): void {
  command
    .argument('<request>', 'id of your request, or its first characters')
    .option('--reason <text>', 'why; it is kept in the audit')
    .action(async (text: string, options: { reason?: string }) => {
      const body = options.reason === undefined ? {} : { reason: options.reason }
      const request = await withApi(cli, async ({ api }) => {
        const { id } = await findRequest(api, text)
        return api.call('requestWithdraw', { params: { id }, body })
      })
      cli.answer(request, () => outcomeLines(cli, request, null).join('\n'))
    })
}
