import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { shortIds } from '../short-ids.ts'
import { relativeTime } from '../show-time.ts'
import type { Cell } from '../table.ts'
import { withApi } from '../with-api.ts'

const stateStyles = { connected: 'green', away: 'yellow', revoked: 'dim' } as const

/** `sally proxy list` */
export function declareProxyList(command: Command, cli: Cli): void {
  command.action(async () => {
    const groups = await withApi(cli, ({ api }) => api.call('groups'))
    const nowMs = cli.clock.wallMs()
    const short = shortIds(groups.items.flatMap(({ proxies }) => proxies.map(({ id }) => id)))
    const rows = groups.items.flatMap((group): Cell[][] =>
      group.proxies.length === 0
        ? [[group.name, `*.${group.domain}`, '', '(none has joined)', '', '']]
        : group.proxies.map((proxy) => [
            group.name,
            `*.${group.domain}`,
            short(proxy.id),
            proxy.name,
            { text: proxy.state, style: stateStyles[proxy.state] },
            relativeTime(proxy.joinedAtMs, nowMs),
          ]),
    )
    const warnings = groups.items
      .flatMap(({ proxies }) => proxies)
      .filter(({ state }) => state === 'connected')
      .flatMap(({ name, warnings: said }) =>
        said.map((each) => `\n${cli.paint('warning:', 'yellow')} ${printable(`${name}: ${each}`)}`),
      )
    cli.answer(groups, () =>
      rows.length === 0
        ? 'no proxy groups'
        : cli.table(
            [
              { header: 'GROUP' },
              { header: 'NAMES', shrinks: true },
              { header: 'PROXY' },
              { header: 'NAME', shrinks: true },
              { header: 'STATE' },
              { header: 'JOINED' },
            ],
            rows,
          ) + warnings.join(''),
    )
  })
}
