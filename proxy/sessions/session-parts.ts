/** What a session is made of: its facts, and the tools it shares with all others. */
import type { GrantClaims } from '../../control/api/tokens.ts'
import type { Resource } from '../../control/api/resource.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { Cut, CutReason, EndReason, SessionLabels } from '../../protocols/session.ts'
import type { Forwarder, ForwarderOptions, Spool, SpoolSession } from '../audit/spool-types.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { EvidenceFacts } from '../grants/control-view.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Binding } from '../policy/bind-secret.ts'
import type { SessionRecordings } from '../recordings/session-recordings.ts'
import type { SecretStore } from '../secrets/secret-store.ts'
import type { CertifySession } from './credentials.ts'
import type { StartDial } from './dial.ts'
import type { KeptByPeople } from './kept-by-people.ts'
import type { LiveSession } from './live-session.ts'

/** Why and when a cut was ordered. */
export interface CutOrder {
  readonly reason: CutReason
  /** Unix ms. */
  readonly orderedAtMs: number
  /** For the audit and, where the person may know it, for them. */
  readonly detail: string
  /** What the client is told, where that is not what everybody is told of this reason. */
  readonly words?: Pick<Cut, 'message' | 'hint'>
}

/** What a session is about; settled before it is made. */
export interface SessionFacts {
  readonly labels: SessionLabels
  readonly identity: EvidenceFacts
  readonly claims: GrantClaims
  readonly resource: Resource
  readonly binding: Binding
  /** The feed's position that its confirmation named. */
  readonly confirmedPosition: number
}

/** What a session works with. */
export interface SessionTools {
  readonly spool: Spool
  readonly spoolSession: SpoolSession
  readonly createForwarder: (
    onDrain: ForwarderOptions['onDrain'],
    onFailure: ForwarderOptions['onFailure'],
  ) => Forwarder
  readonly createRecordings: (onDrain: () => void) => SessionRecordings
  /** `throwIfCut`: throws what a cut means. */
  readonly createAssertion: (labels: SessionLabels, throwIfCut: () => void) => () => string
  readonly startDial: StartDial
  readonly stores: readonly SecretStore[]
  readonly certifySession: CertifySession
  readonly clock: Clock
  readonly controlClock: ControlClock
  readonly limits: Limits
  readonly metrics: Pick<Metrics, 'reported' | 'webSockets'>
  readonly log: Log
  /** Orders a cut of this session through the registry. */
  readonly requestCut: (session: LiveSession, order: CutOrder) => void
  /** Keeps a cancel callback under a key, and forgets it. */
  readonly keepCancel: (cancel: () => void) => Buffer
  readonly forgetCancel: (key: Buffer) => void
  /** As `Session.keep` by person; what the session kept so is let go of once it is closed. */
  readonly keepForPerson: KeptByPeople['keep']
  readonly onOpened: (session: LiveSession) => void
  readonly onClosed: (session: LiveSession, reason: CutReason | EndReason, cutMs?: number) => void
}
