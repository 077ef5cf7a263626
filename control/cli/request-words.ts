/** Requests, and what flows ask for, in words. Everything is printable already. */
import { formatDuration } from '../api/duration.ts'
import type { AccessRequest, Why } from '../api/request.ts'
import type { Grant } from '../api/shapes.ts'
import type { Cli } from './cli.ts'
import { levels } from './options.ts'
import { printable } from './printable.ts'
import { localTime, relativeTime } from './show-time.ts'

type Approvers = AccessRequest['approvers']

/** "leads, lead@example.test". */
export function approversText({ people, groups }: Approvers): string {
  return [...groups, ...people].map(printable).join(', ')
}

/** "automatic", "1 of leads". */
export function approvalText(needed: number, approvers: Approvers): string {
  return needed === 0 ? 'automatic' : `${needed} of ${approversText(approvers)}`
}

export function approvalsGiven({ decisions }: AccessRequest): number {
  return decisions.filter(({ verdict, lapsed }) => verdict === 'approve' && lapsed !== true).length
}

/** "1 more yes of leads". */
export function waitsForText(request: AccessRequest): string {
  const missing = Math.max(1, request.approvalsNeeded - approvalsGiven(request))
  return `${missing} more yes of ${approversText(request.approvers)}`
}

/** "write on orders-db for 1h", "30m more of write on orders-db". */
export function askedText({ kind, level, resource, forMs }: AccessRequest): string {
  const time = formatDuration(forMs)
  return kind === 'extension'
    ? `${time} more of ${level} on ${printable(resource)}`
    : `${level} on ${printable(resource)} for ${time}`
}

/** What the approvers left of what was asked for: the lowest level and the shortest time that anybody said. */
function allowed(request: AccessRequest): AccessRequest {
  const decisions = request.decisions.filter(({ lapsed }) => lapsed !== true)
  const said = [request.level, ...decisions.flatMap(({ level }) => level ?? [])]
  const level = levels.find((each) => said.includes(each)) ?? request.level
  const forMs = Math.min(request.forMs, ...decisions.flatMap((one) => one.forMs ?? []))
  return { ...request, level, forMs }
}

/** The command that asks for one of the ways. */
export function askCommand(
  resource: string,
  { level, reasonRequired }: Why['ways'][number],
): string {
  const reason = reasonRequired ? ' --reason TEXT' : ''
  return `sally request ${printable(resource)} --level ${level}${reason} --wait`
}

export function connectCommand({ resource, level }: Pick<Grant, 'resource' | 'level'>): string {
  return `sally connect ${printable(resource)} --level ${level}`
}

export function untilText(atMs: number, nowMs: number): string {
  return `${localTime(atMs)} (${relativeTime(atMs, nowMs)})`
}

/** What became of a request, for the person who asked; and of a grant, how to use it. */
export function outcomeLines(cli: Cli, request: AccessRequest, grant: Grant | null): string[] {
  const ask = askedText(request)
  const denial = request.decisions.find(({ verdict }) => verdict === 'deny')
  switch (request.state) {
    case 'approved':
      return grant === null
        ? [
            `${cli.paint('approved:', 'green')} ${printable(request.personEmail)}, ${askedText(allowed(request))}`,
            `request ${request.id}`,
          ]
        : grantLines(cli, request, grant)
    case 'denied': {
      const by = denial === undefined ? '' : ` by ${printable(denial.personEmail)}`
      const why = denial === undefined || denial.comment === '' ? '' : `: ${denial.comment}`
      return [`${cli.paint(`denied${by}`, 'red')}${printable(why)}`, `request ${request.id}`]
    }
    case 'withdrawn':
      return [`withdrawn: ${ask}`, `request ${request.id}`]
    case 'expired':
      return [`${cli.paint('nobody answered', 'yellow')} in time: ${ask}`, `request ${request.id}`]
    case 'pending':
      return [
        `asked: ${ask}; it waits for ${waitsForText(request)}`,
        `request ${request.id}, ends unanswered ${untilText(request.answerByMs, cli.clock.wallMs())}`,
      ]
  }
}

function grantLines(cli: Cli, request: AccessRequest, grant: Grant): string[] {
  const until = untilText(grant.expiresAtMs, cli.clock.wallMs())
  const word = request.kind === 'extension' ? 'extended:' : 'approved:'
  return [
    `${cli.paint(word, 'green')} ${printable(grant.personEmail)} has ${cli.paint(grant.level, 'bold')} on ${printable(grant.resource)} until ${until}`,
    `grant ${grant.id}, request ${request.id}`,
  ]
}
