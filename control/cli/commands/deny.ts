import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { findRequest } from '../find-request.ts'
import { askedText } from '../request-words.ts'
import { printable } from '../printable.ts'
import { withApi } from '../with-api.ts'
import { namingWhoCan } from './approve.ts'

/** `sally deny REQUEST --comment TEXT` */
export function declareDeny(command: Command, cli: Cli): void {
  command
    .argument('<request>', 'id of the request, or its first characters')
    .requiredOption('--comment <text>', 'why; the person reads it, and it is kept in the audit')
    .action(async (text: string, options: { comment: string }) => {
      const request = await withApi(cli, async ({ api }) => {
        const found = await findRequest(api, text)
        const call = { params: { id: found.id }, body: { comment: options.comment } }
        return api.call('requestDeny', call).catch((error: unknown) => {
          throw namingWhoCan(error, found)
        })
      })
      cli.answer(
        request,
        () =>
          `denied: ${printable(request.personEmail)} asked for ${askedText(request)}\nrequest ${request.id}`,
      )
    })
}
