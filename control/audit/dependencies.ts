import type { Signer } from '../../certs/signer.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Store } from '../store/store.ts'
import type { Envelope } from './envelope.ts'
import type { AuditMetrics } from './metrics.ts'

/** The part of a structured logger that the audit uses. */
export interface AuditLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** What every operation of the audit works with. */
export interface AuditContext {
  /** The audit store; never the one of the state. */
  readonly store: Store
  readonly realm: string
  readonly envelope: Envelope
  /** Control's audit key (EdDSA): countersigns what was stored. */
  readonly signer: Signer
  readonly clock: Clock
  readonly log: AuditLog
  readonly metrics: AuditMetrics
}
