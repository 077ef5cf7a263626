import { Counter, Gauge, type Registry } from 'prom-client'

/** What the audit counts. No label: proxies and sessions are not bounded. */
export interface AuditMetrics {
  /** Entries stored durably. */
  readonly received: (entries: number) => void
  readonly indexed: (entries: number) => void
  readonly quarantined: (batches: number) => void
  /** Entries that are stored but cannot be understood, or speak of another proxy's session. */
  readonly anomalies: (entries: number) => void
  readonly indexLagMs: (lagMs: number) => void
  /** Sessions whose key was destroyed. */
  readonly expired: (sessions: number) => void
}

export function createAuditMetrics(registry: Registry): AuditMetrics {
  const registers = [registry]
  const counter = (name: string, help: string) => {
    const metric = new Counter({ name: `sallyport_audit_${name}`, help, registers })
    return (count: number) => metric.inc(count)
  }
  const lag = new Gauge({
    name: 'sallyport_audit_index_lag_seconds',
    help: 'Age of the oldest stored segment that is not indexed yet',
    registers,
  })
  return {
    received: counter('entries_received_total', 'Audit entries stored durably'),
    indexed: counter('entries_indexed_total', 'Audit entries indexed for search'),
    quarantined: counter('batches_quarantined_total', 'Batches that conflict with stored ones'),
    anomalies: counter('anomalies_total', 'Entries that are stored but cannot be understood'),
    expired: counter('sessions_expired_total', 'Sessions whose payloads were deleted by retention'),
    indexLagMs: (lagMs) => lag.set(lagMs / 1_000),
  }
}
