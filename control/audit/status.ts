import type { z } from 'zod'
import type { auditStatus } from '../api/shapes.ts'
import type { AuditContext } from './dependencies.ts'

/** Who is on the feed, from whoever keeps it. */
export type ReadProxyPresence = () => Promise<
  readonly { proxyId: string; connected: boolean; lastHeardAtMs: number | null }[]
>

type AuditStatus = z.output<typeof auditStatus>

/** Per proxy: what was received, indexed and quarantined. Proxies that shipped nothing yet are listed too. */
export async function readAuditStatus(
  { store, realm, clock }: Pick<AuditContext, 'store' | 'realm' | 'clock'>,
  readProxyPresence: ReadProxyPresence,
): Promise<AuditStatus> {
  const chains = await store.query<{
    proxy_id: string
    received: number
    indexed: number
    received_at_ms: number
  }>(
    `select c.proxy_id, sum(c.entries)::bigint as received, sum(p.entries_indexed)::bigint as indexed,
       max(c.received_at_ms) as received_at_ms
     from audit_chains c join index_progress p using (chain_id)
     where c.realm = $1 group by c.proxy_id`,
    [realm],
  )
  const waiting = await store.query<{ proxy_id: string; oldest: number }>(
    `select c.proxy_id, min(s.received_at_ms) as oldest
     from audit_segments s join audit_chains c using (chain_id)
     where s.realm = $1 and s.indexed_at_ms is null group by c.proxy_id`,
    [realm],
  )
  const quarantined = await store.query<{ proxy_id: string; count: number }>(
    `select proxy_id, sum(greatest(batches, 1))::bigint as count
     from audit_quarantine where realm = $1 group by proxy_id`,
    [realm],
  )
  const present = await readProxyPresence()
  const received = new Map(chains.map((row) => [row.proxy_id, row]))
  const presence = new Map(present.map((row) => [row.proxyId, row]))
  const oldest = new Map(waiting.map((row) => [row.proxy_id, row.oldest]))
  const set = new Map(quarantined.map((row) => [row.proxy_id, row.count]))
  const nowMs = Math.floor(clock.wallMs())
  const ids = [...new Set([...presence.keys(), ...received.keys(), ...set.keys()])].sort()
  return {
    proxies: ids.map((proxyId) => ({
      proxyId,
      connected: presence.get(proxyId)?.connected ?? false,
      lastHeardAtMs:
        presence.get(proxyId)?.lastHeardAtMs ?? received.get(proxyId)?.received_at_ms ?? null,
      entriesReceived: received.get(proxyId)?.received ?? 0,
      entriesIndexed: received.get(proxyId)?.indexed ?? 0,
      indexLagMs: Math.max(0, nowMs - (oldest.get(proxyId) ?? nowMs)),
      quarantined: set.get(proxyId) ?? 0,
    })),
  }
}
