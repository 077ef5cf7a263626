import type { Registry } from 'prom-client'
import type { Signer } from '../../certs/signer.ts'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import type { ControlAction } from '../server/handlers.ts'
import type { Store } from '../store/store.ts'
import { rememberControlKey } from './audit-keys.ts'
import type { AuditContext, AuditLog } from './dependencies.ts'
import { createEnvelope, type RootKey } from './envelope.ts'
import { auditHandlers } from './handlers.ts'
import { createIndexer } from './indexer.ts'
import { createAuditMetrics } from './metrics.ts'
import type { ReadControlSegments } from './read-segments.ts'
import { runRetention } from './retention.ts'
import type { ReadProxyPresence } from './status.ts'
import type { ReadAction } from './readings.ts'

export interface AuditOptions {
  readonly store: Store
  readonly realm: string
  readonly rootKey: RootKey
  /** Control's audit key (EdDSA). */
  readonly signer: Signer
  readonly clock: Clock
  readonly log: AuditLog
  readonly registry: Registry
  readonly readControlSegments: ReadControlSegments
  readonly readProxyPresence: ReadProxyPresence
  /** Writes what control did by itself into its own chain; resolves once it is durable. */
  readonly appendAction: (action: ControlAction) => Promise<unknown>
  readonly readAction: ReadAction
}

export interface Audit {
  readonly context: AuditContext
  readonly handlers: ReturnType<typeof auditHandlers>
  /** Whoever waits for something new is answered now. */
  endWaits(): void
  /** Stops indexing and retention after what is at hand. */
  close(): Promise<void>
}

const firstRetentionMs = 60_000
const retentionEveryMs = 3_600_000

/** The audit of control, with its work in the background: indexing and retention. */
export async function openAudit(options: AuditOptions): Promise<Audit> {
  const { store, realm, rootKey, signer, clock, log } = options
  const envelope = createEnvelope({ store, rootKey, clock })
  const metrics = createAuditMetrics(options.registry)
  const context: AuditContext = { store, realm, envelope, signer, clock, log, metrics }
  await rememberControlKey(context)
  const indexer = createIndexer(context)
  const stopping = new AbortController()
  const retention = startRetention(context, options.appendAction)
  return {
    context,
    handlers: auditHandlers({ ...options, context, indexer, stopping: stopping.signal }),
    endWaits: () => stopping.abort(),
    async close() {
      stopping.abort()
      await retention.stop()
      await indexer.close()
    },
  }
}

function startRetention(
  context: AuditContext,
  appendAction: AuditOptions['appendAction'],
): { stop(): Promise<void> } {
  const state = { stopped: false }
  let running: Promise<void> = Promise.resolve()
  let timer: Timer
  const run = async (): Promise<void> => {
    try {
      await runRetention(context, {
        proceed: () => !state.stopped,
        announce: (sessions) =>
          appendAction({ action: 'audit.expired', target: 'sessions', details: { sessions } }),
      })
    } catch (error) {
      if (!state.stopped) context.log.error({ error }, 'retention failed; it runs again in an hour')
    }
    if (!state.stopped) arm(retentionEveryMs)
  }
  const arm = (delayMs: number): void => {
    timer = context.clock.startTimer(delayMs, () => {
      running = run()
    })
  }
  arm(firstRetentionMs)
  return {
    async stop() {
      state.stopped = true
      timer.cancel()
      await running
    },
  }
}
