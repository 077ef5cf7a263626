import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { parseDuration } from '../../api/duration.ts'
import type { Level } from '../../api/names.ts'
import type { AccessRequest } from '../../api/request.ts'
import type { Grant } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { findRequest } from '../find-request.ts'
import { levelOption } from '../options.ts'
import { printable } from '../printable.ts'
import { approversText, outcomeLines } from '../request-words.ts'
import { withApi } from '../with-api.ts'
import { withHint } from '../with-hint.ts'

interface ApproveOptions {
  for?: string
  level?: Level
  comment?: string
}

/** `sally approve REQUEST [--for D] [--level L] [--comment TEXT]` */
export function declareApprove(command: Command, cli: Cli): void {
  command
    .argument('<request>', 'id of the request, or its first characters')
    .option('--for <duration>', 'for less time than was asked for: 15m, 8h, 1h30m')
    .addOption(levelOption('at a lower level than was asked for'))
    .option('--comment <text>', 'kept in the audit')
    .action(async (text: string, options: ApproveOptions) => {
      const body = {
        ...(options.for === undefined ? {} : { forMs: parseDuration(options.for) }),
        ...(options.level === undefined ? {} : { level: options.level }),
        ...(options.comment === undefined ? {} : { comment: options.comment }),
      }
      const { request, grant } = await withApi(cli, async ({ api }) => {
        const found = await findRequest(api, text)
        const decided = await api
          .call('requestApprove', { params: { id: found.id }, body })
          .catch((error: unknown) => {
            throw namingWhoCan(error, found)
          })
        return { request: decided, grant: await readGrant(api, decided) }
      })
      cli.answer(request, () =>
        request.state === 'pending'
          ? `your yes is counted\n${outcomeLines(cli, request, grant).join('\n')}`
          : outcomeLines(cli, request, grant).join('\n'),
      )
      if (request.state === 'approved' && request.kind === 'access') {
        const how = `they connect with: sally connect ${printable(request.resource)}`
        cli.note(cli.paintNote(how, 'dim'))
      }
    })
}

/** The grant that came of it; null while it waits, and for an approver who may not see the grant. */
async function readGrant(api: ApiClient, request: AccessRequest): Promise<Grant | null> {
  if (request.state !== 'approved' || request.grantId === null) return null
  try {
    return await api.call('grant', { params: { id: request.grantId } })
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'not-found') return null
    throw error
  }
}

/** A refusal of who may not decide says who may. */
export function namingWhoCan(error: unknown, request: AccessRequest): unknown {
  const who = approversText(request.approvers)
  return withHint(
    error,
    'not-allowed',
    `who may decide it: ${who}, with: sally approve ${request.id}`,
  )
}
