import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { createSpoolSession } from '../audit/spool-session.ts'
import type { Forwarder, ForwarderOptions, Spool, SpoolSession } from '../audit/spool-types.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { AssertionSigner } from '../identity/assertion-keys.ts'
import type { Metrics } from '../observe/metrics.ts'
import { createSessionRecordings } from '../recordings/session-recordings.ts'
import type { SecretStore } from '../secrets/secret-store.ts'
import { createAssertion } from './assertion.ts'
import { durabilityOf } from './authorise.ts'
import type { CancelKeys } from './cancel-keys.ts'
import type { CertifySession } from './credentials.ts'
import type { Dial, StartDial } from './dial.ts'
import { createKeptByPeople } from './kept-by-people.ts'
import { LiveSession } from './live-session.ts'
import { streamBytesMaxOf } from './stream-bytes-max.ts'
import type { CutOrder, SessionFacts } from './session-parts.ts'
import type { Registry } from './registry.ts'

export interface CreateSessionOptions {
  readonly spool: Spool
  readonly createForwarder: (
    spool: Spool,
    session: SpoolSession,
    options: ForwarderOptions,
  ) => Forwarder
  readonly startDial: StartDial
  readonly stores: readonly SecretStore[]
  readonly certifySession: CertifySession
  /** Of the proxy, as apps are told. */
  readonly domain: string
  readonly assertionSigner: AssertionSigner
  readonly registry: Registry
  readonly cancelKeys: CancelKeys
  readonly clock: Clock
  readonly controlClock: ControlClock
  readonly limits: Limits
  readonly metrics: Pick<Metrics, 'opened' | 'ended' | 'cut' | 'reported' | 'webSockets'>
  readonly log: Log
}

/** What makes sessions of facts: everything they share is bound here, once. */
export function createSessions(options: CreateSessionOptions) {
  const {
    spool,
    registry,
    cancelKeys,
    metrics,
    domain,
    assertionSigner: signer,
    clock,
    log,
  } = options
  const keptByPeople = createKeptByPeople()
  return (facts: SessionFacts, dial: Dial): LiveSession => {
    const { protocol, sessionId } = facts.labels
    const durability = durabilityOf(facts.resource, facts.labels.level)
    const spoolSession = createSpoolSession(sessionId, durability)
    return new LiveSession(
      facts,
      {
        ...options,
        spoolSession,
        createForwarder: (onDrain, onFailure) =>
          options.createForwarder(spool, spoolSession, {
            durability,
            queueBytesMax: options.limits.forwardQueueBytesMax,
            onDrain,
            onFailure,
          }),
        createAssertion: (labels, throwIfCut) =>
          createAssertion({ labels, domain, signer, clock, throwIfCut }),
        createRecordings: (onDrain) =>
          createSessionRecordings({
            spool,
            spoolSession,
            clock,
            streamBytesMax: streamBytesMaxOf(facts.resource),
            onDrain,
          }),
        requestCut: (session, order) => void registry.cut(allAtTheirEnd(session, order), order),
        keepCancel: (cancel) => cancelKeys.keep(cancel),
        forgetCancel: (key) => cancelKeys.forget(key),
        keepForPerson: (...of) => keptByPeople.keep(...of),
        onOpened: (session) => {
          metrics.opened(protocol)
          log.info(session.labels, 'session opened')
        },
        onClosed: (session, reason, cutMs) => {
          registry.remove(session)
          keptByPeople.letGo(session)
          metrics.ended(protocol, reason)
          if (cutMs !== undefined && session.cutReason !== undefined) {
            metrics.cut(protocol, session.cutReason, cutMs)
          }
          log.info({ ...session.labels, reason, cutMs }, 'session closed')
        },
      },
      dial,
    )
  }

  /** A grant ends for all of its sessions at once: one commit, and nobody waits for another's farewell. */
  function allAtTheirEnd(session: LiveSession, order: CutOrder): Iterable<LiveSession> {
    if (order.reason !== 'grant-expired') return [session]
    const { expiresAtMs } = session.claims
    const others = [...registry.ofGrant(session.labels.grantId)]
    // A session that is only being opened is not among them yet.
    return new Set([session, ...others.filter((each) => each.claims.expiresAtMs <= expiresAtMs)])
  }
}
