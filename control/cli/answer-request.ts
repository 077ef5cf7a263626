/** How `sally request` and `sally extend` end: at once, or after waiting for the decision. */
import type { AccessRequest } from '../api/request.ts'
import type { Grant } from '../api/shapes.ts'
import { awaitDecision } from './await-decision.ts'
import type { Cli } from './cli.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { printable } from './printable.ts'
import { connectCommand, outcomeLines, waitsForText } from './request-words.ts'
import type { ApiWork } from './with-api.ts'

export interface Made {
  readonly request: AccessRequest
  readonly grant: Grant | null
}

const exitCodeOfState: Readonly<Record<AccessRequest['state'], ExitCode>> = {
  pending: exitCodes.ok,
  approved: exitCodes.ok,
  denied: exitCodes.denied,
  withdrawn: exitCodes.negative,
  expired: exitCodes.unanswered,
}

/** Waits if that was asked for and there is something to wait for. */
export async function settle(cli: Cli, work: ApiWork, made: Made, wait: boolean): Promise<Made> {
  if (made.request.state !== 'pending' || !wait) return made
  const { id } = made.request
  work.progress.note(
    cli.paintNote(
      `waiting for ${waitsForText(made.request)}: sally approve ${id} (Ctrl-C leaves the request; sally withdraw ${id} takes it back)`,
      'dim',
    ),
  )
  const request = await awaitDecision(cli, work, made.request)
  if (request.state !== 'approved' || request.grantId === null) return { request, grant: null }
  return { request, grant: await work.api.call('grant', { params: { id: request.grantId } }) }
}

/** The answer, the exit code of what was waited for, and the command to go on with. */
export function answerRequest(cli: Cli, { request, grant }: Made): void {
  cli.answer({ request, grant }, () => {
    const lines = outcomeLines(cli, request, grant)
    if (grant !== null && request.kind === 'access') lines.push(`connect: ${connectCommand(grant)}`)
    return lines.join('\n')
  })
  const resource = printable(request.resource)
  if (request.state === 'pending') {
    const how = `see it: sally requests --mine; take it back: sally withdraw ${request.id}`
    cli.note(cli.paintNote(how, 'dim'))
  } else if (request.state !== 'approved') {
    cli.note(cli.paintNote(`what else you could ask for: sally why ${resource}`, 'dim'))
  }
  const code = exitCodeOfState[request.state]
  if (code !== exitCodes.ok) cli.exitWith(code)
}
