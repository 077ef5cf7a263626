import { Option, type Command } from 'commander'
import { formatDuration } from '../../api/duration.ts'
import type { AccessRequest } from '../../api/request.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { approvalsGiven, approvalText, waitsForText } from '../request-words.ts'
import { idLines, shortIds } from '../short-ids.ts'
import { relativeTime } from '../show-time.ts'
import type { Cell } from '../table.ts'
import { withApi } from '../with-api.ts'

interface RequestsOptions extends PageOptions {
  ids?: boolean
  decide?: boolean
  mine?: boolean
  state?: AccessRequest['state'] | 'all'
}

const states = ['pending', 'approved', 'denied', 'withdrawn', 'expired', 'all']

/** `sally requests [--decide | --mine] [--all] [--state S]` */
export function declareRequests(command: Command, cli: Cli): void {
  addPageOptions(
    command
      .addOption(new Option('--decide', 'only those that you may decide now').conflicts('mine'))
      .option('--mine', 'only your own, also decided ones')
      .option('--ids', 'only their ids, one a line')
      .addOption(new Option('--state <state>', 'only in this state').choices(states)),
    'all that you may see, in every state',
  ).action(async (options: RequestsOptions) => {
    const everyState = options.mine === true || options.all === true
    const filter = {
      mine: options.decide === true ? 'decide' : options.mine === true ? 'asked' : 'all',
      state: options.state ?? (everyState && options.decide !== true ? 'all' : 'pending'),
    } as const
    const page = await withApi(cli, ({ api, progress }) =>
      readPages<AccessRequest, { items: AccessRequest[]; next: string | null }>(
        options,
        (query) => api.call('requests', { query: { ...query, ...filter } }),
        (count) => progress.update(`reading requests, ${count}`),
      ),
    )
    cli.answer(page, () =>
      options.ids === true ? idLines(page.items) : showRequests(cli, page.items, filter),
    )
    noteMore(cli, page)
    if (options.ids !== true && page.items.some(({ mine }) => mine === 'decide')) {
      const how = 'decide: sally approve REQUEST, or sally deny REQUEST --comment TEXT'
      cli.note(cli.paintNote(how, 'dim'))
    }
  })
}

function showRequests(
  cli: Cli,
  requests: readonly AccessRequest[],
  filter: { mine: string; state: string },
): string {
  if (requests.length === 0) {
    if (filter.mine === 'decide') return 'no requests for you to decide'
    const word = filter.state === 'all' ? '' : `${filter.state} `
    return `no ${word}requests\nask for access: sally request RESOURCE --level read --reason TEXT --wait`
  }
  const nowMs = cli.clock.wallMs()
  const short = shortIds(requests.map(({ id }) => id))
  return cli.table(
    [
      { header: 'REQUEST' },
      { header: 'PERSON', shrinks: true, widthMin: 12 },
      { header: 'RESOURCE', shrinks: true, widthMin: 9 },
      { header: 'LEVEL' },
      { header: 'FOR' },
      { header: 'STATE' },
      { header: 'REASON', shrinks: true, widthMin: 12 },
      { header: 'APPROVAL', shrinks: true, widthMin: 12, spare: 2 },
      { header: 'ASKED', spare: 1 },
    ],
    requests.map((request) => [
      short(request.id),
      request.personEmail,
      request.resource,
      request.level,
      `${request.kind === 'extension' ? '+' : ''}${formatDuration(request.forMs)}`,
      stateCell(request),
      request.reason,
      approvalCell(request),
      relativeTime(request.madeAtMs, nowMs),
    ]),
  )
}

const styles = {
  pending: 'yellow',
  approved: 'green',
  denied: 'red',
  withdrawn: 'dim',
  expired: 'dim',
} as const

function stateCell(request: AccessRequest): Cell {
  const { state, mine } = request
  const text = mine === 'decide' ? 'your turn' : state
  return { text, style: styles[state] }
}

function approvalCell(request: AccessRequest): string {
  if (request.state === 'pending') return waitsForText(request)
  const denial = request.decisions.find(({ verdict }) => verdict === 'deny')
  if (denial !== undefined) return `${denial.personEmail}: ${denial.comment}`
  if (approvalsGiven(request) === 0) return approvalText(request.approvalsNeeded, request.approvers)
  return request.decisions.map(({ personEmail }) => personEmail).join(', ')
}
