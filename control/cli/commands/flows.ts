import type { Command } from 'commander'
import type { Flow } from '../../api/flow.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { approvalText } from '../request-words.ts'
import { localTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally flows`, `sally flows list` */
export function declareFlows(command: Command, cli: Cli): void {
  command.action(async () => {
    const view = await withApi(cli, ({ api }) => api.call('flows'))
    cli.answer(view, () => {
      if (view.flows.length === 0) {
        return 'no flows: nobody can ask for access\nan admin applies them: sally flows apply FILE'
      }
      const by = view.author === null ? '' : ` by ${printable(view.author)}`
      const at = view.appliedAtMs === null ? '' : `, ${localTime(view.appliedAtMs)}`
      return `${showFlows(cli, view.flows)}\nversion ${view.version}${by}${at}`
    })
  })
}

function showFlows(cli: Cli, flows: readonly Flow[]): string {
  return cli.table(
    [
      { header: 'FLOW', shrinks: true },
      { header: 'WHO', shrinks: true },
      { header: 'RESOURCES', shrinks: true },
      { header: 'LEVELS' },
      { header: 'LONGEST' },
      { header: 'APPROVAL', shrinks: true },
      { header: 'REASON' },
    ],
    flows.map((flow) => [
      { text: flow.name, style: 'bold' },
      [...flow.who.groups, ...flow.who.people].join(', '),
      resourcesText(flow),
      flow.levels.join(','),
      flow.duration.longest,
      flow.approval.kind === 'automatic'
        ? { text: 'automatic', style: 'green' }
        : approvalText(flow.approval.count, flow.approval.from),
      flow.reasonRequired ? 'required' : '',
    ]),
  )
}

function resourcesText({ resources }: Flow): string {
  const tags = Object.entries(resources.tags ?? {}).map(([key, value]) => `${key}=${value}`)
  return [...(resources.names ?? []), ...tags].join(' ')
}
