/** The feeds that are open in this process. */
import type { Timer } from '../../protocols/kit/clock.ts'
import { nowMs, type Control } from '../control.ts'
import type { FeedConnection } from '../feed/feed-connection.ts'
import type { Sql } from '../store/store.ts'

export interface ConnectedProxies {
  readonly size: number
  readonly connections: Iterable<FeedConnection>
  /** A proxy has one feed: an earlier one of the same is closed. */
  add(connection: FeedConnection): void
  remove(connection: FeedConnection): void
  /** Looks now, rather than within seconds, whether one of them was revoked. */
  dropRevoked(): Promise<void>
  /** Closes all, with 1001, and stops. */
  close(): void
}

const markMs = 5_000
/** A proxy that was not heard of for this long is away. */
const awayMs = 3 * markMs

/** Keeps when each proxy was heard, for all replicas to see; drops those that were revoked meanwhile. */
export function createConnectedProxies(
  control: Pick<Control, 'realm' | 'state' | 'clock' | 'log'>,
): ConnectedProxies {
  const { realm, state, clock, log } = control
  const connections = new Map<string, FeedConnection>()
  let timer: Timer | undefined

  const mark = async (): Promise<void> => {
    const ids = [...connections.keys()]
    if (ids.length === 0) return
    const rows = await state.query<{ id: string }>(
      `update proxies set last_heard_at_ms = $3
       where realm = $1 and id = any($2::uuid[]) and revoked_at_ms is null returning id`,
      [realm, ids, nowMs(clock)],
    )
    const kept = new Set(rows.map((row) => row.id))
    for (const id of ids) if (!kept.has(id)) connections.get(id)?.close(1008, 'revoked')
  }
  const arm = (delayMs: number): void => {
    timer = clock.startTimer(delayMs, () => {
      mark()
        .catch((error: unknown) => log.warn({ error: String(error) }, 'proxies were not marked'))
        .finally(() => timer !== undefined && arm(markMs))
    })
  }
  arm(markMs)
  return {
    get size() {
      return connections.size
    },
    get connections() {
      return connections.values()
    },
    add(connection) {
      connections.get(connection.peer.proxyId)?.close(1000, 'connected again')
      connections.set(connection.peer.proxyId, connection)
      mark().catch((error: unknown) =>
        log.warn({ error: String(error) }, 'proxies were not marked'),
      )
    },
    dropRevoked: mark,
    remove(connection) {
      const { proxyId } = connection.peer
      if (connections.get(proxyId) === connection) connections.delete(proxyId)
    },
    close() {
      timer?.cancel()
      timer = undefined
      for (const connection of connections.values()) connection.close(1001, 'control stops')
    },
  }
}

/** Every proxy of the realm, and whether any replica hears it. */
export async function readProxyPresence(
  sql: Sql,
  { realm, clock }: Pick<Control, 'realm' | 'clock'>,
): Promise<
  {
    proxyId: string
    name: string
    group: string
    joinedAtMs: number
    connected: boolean
    revoked: boolean
    lastHeardAtMs: number | null
    warnings: string[]
  }[]
> {
  return sql.query(
    `select id as "proxyId", name, group_name as "group", joined_at_ms as "joinedAtMs",
       coalesce(last_heard_at_ms, 0) > $2 and revoked_at_ms is null as connected,
       revoked_at_ms is not null as revoked,
       last_heard_at_ms as "lastHeardAtMs", warnings
     from proxies where realm = $1 order by joined_at_ms, id`,
    [realm, nowMs(clock) - awayMs],
  )
}
