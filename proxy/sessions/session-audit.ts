/** What one session has in the audit: its opening, its activities, and its end. */
import type { ActivitySource, Outcome } from '../../protocols/activity.ts'
import type { Log } from '../../protocols/engine.ts'
import type { ActivityId, BlobWriter, SessionLabels } from '../../protocols/session.ts'
import type { Spool, SpoolSession } from '../audit/spool-types.ts'
import { closedMeta, type SessionEnd } from './closed-meta.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { CutOrder } from './session-parts.ts'

export interface SessionAudit {
  /** `session-opened` was appended, so its end has to follow. */
  opened(): void
  report(activity: ActivitySource): ActivityId
  settle(id: ActivityId, outcome: Outcome): void
  spill(): BlobWriter
  /** A cut that cannot be recorded still happens. */
  cut(order: CutOrder): void
  /** After what `endRecordings` writes. Resolves once it is on disk, or logged that it is not. */
  closed(end: Omit<SessionEnd, 'statements'>, endRecordings: () => void): Promise<void>
}

export interface SessionAuditOptions {
  readonly spool: Spool
  readonly spoolSession: SpoolSession
  readonly labels: SessionLabels
  readonly metrics: Pick<Metrics, 'reported' | 'webSockets'>
  readonly log: Log
}

export function createSessionAudit(options: SessionAuditOptions): SessionAudit {
  const { spool, spoolSession, labels, metrics, log } = options
  let isOpened = false
  let statements = 0
  const webSockets = new Set<ActivityId>()
  return {
    opened() {
      isOpened = true
    },
    report(activity) {
      const id = spool.appendActivity(spoolSession, activity)
      // 0: the session is cut, nothing was written and nothing passes.
      if (id <= 0) return id
      statements += 1
      metrics.reported(labels.protocol, activity.kind)
      if (activity.kind === 'websocket') {
        webSockets.add(id)
        metrics.webSockets(1)
      }
      return id
    },
    settle(id, outcome) {
      if (webSockets.delete(id)) metrics.webSockets(-1)
      spool.appendOutcome(spoolSession, id, outcome)
    },
    spill: () => spool.spill(spoolSession),
    cut({ reason, orderedAtMs, detail }) {
      if (!isOpened) return
      try {
        spool.appendEvent('session-cut', labels.sessionId, { reason, orderedAtMs, detail })
      } catch (error) {
        log.error({ ...labels, error: String(error) }, 'a cut could not be recorded')
      }
    },
    async closed(end, endRecordings) {
      metrics.webSockets(-webSockets.size)
      webSockets.clear()
      try {
        endRecordings()
        if (!isOpened) return
        const meta = closedMeta({ ...end, statements })
        spool.appendEvent('session-closed', labels.sessionId, meta)
        await spool.commitNow('synced')
      } catch (error) {
        log.error({ ...labels, error: String(error) }, 'the end of a session was not recorded')
      }
    },
  }
}
