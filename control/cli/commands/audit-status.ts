import type { Command } from 'commander'
import { formatDuration } from '../../api/duration.ts'
import type { Cli } from '../cli.ts'
import { shortIds } from '../short-ids.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally audit status` */
export function declareAuditStatus(command: Command, cli: Cli): void {
  command.action(async () => {
    const status = await withApi(cli, ({ api }) => api.call('auditStatus'))
    const nowMs = cli.clock.wallMs()
    const short = shortIds(status.proxies.map(({ proxyId }) => proxyId))
    cli.answer(status, () =>
      status.proxies.length === 0
        ? 'no proxy has joined yet: sally proxy join-token'
        : cli.table(
            [
              { header: 'PROXY' },
              { header: 'STATE' },
              { header: 'LAST HEARD' },
              { header: 'ENTRIES', align: 'right' },
              { header: 'INDEXED', align: 'right' },
              { header: 'LAG', align: 'right' },
              { header: 'QUARANTINED', align: 'right' },
            ],
            status.proxies.map((proxy) => [
              short(proxy.proxyId),
              proxy.connected
                ? { text: 'connected', style: 'green' }
                : { text: 'away', style: 'yellow' },
              proxy.lastHeardAtMs === null ? 'never' : relativeTime(proxy.lastHeardAtMs, nowMs),
              proxy.entriesReceived,
              proxy.entriesIndexed,
              formatDuration(proxy.indexLagMs),
              proxy.quarantined > 0
                ? { text: String(proxy.quarantined), style: 'red' }
                : proxy.quarantined,
            ]),
          ),
    )
  })
}
