/**
 * Sessions that span connections and requests: `Gate.lease`. A session is shared by whoever shows the same evidence for the same resource and
 * level; it is admitted once, and each lease looks at the evidence again, so that what has ended or was revoked begins nothing.
 */
import type { Arrival, Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { toSallyportError } from '../../protocols/kit/errors.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { Level, Session } from '../../protocols/session.ts'
import type { AdmissionGate } from '../gate.ts'
import type { EvidenceFacts } from '../grants/control-view.ts'
import type { Metrics } from '../observe/metrics.ts'
import { noName } from './access-denied.ts'
import { leaseKeyOf } from './lease-key.ts'
import { resourceNameOf } from './resource-name-of.ts'
import type { LiveSession } from './live-session.ts'
import { createSharedSession, type SharedSession } from './shared-session.ts'
import { untilRefusal } from './until-refusal.ts'

export interface Leases {
  /** As `Gate.lease`. */
  lease(arrival: Arrival): Promise<Session>
  /** Ends sessions without leases; from here on each ends as its last lease is given back. */
  drain(): void
  /** Sessions that are shared, or on their way. */
  readonly size: number
}

export interface LeasesOptions {
  readonly domain: string
  readonly gate: AdmissionGate
  /** Rejects if the evidence that once led to these facts counts no more. */
  readonly recheck: (arrival: Arrival, facts: EvidenceFacts) => Promise<void>
  /** The grant that a new session of this evidence would be under, as far as this proxy knows. */
  readonly newestGrant: (arrival: Arrival, session: LiveSession) => string | undefined
  /** As `Session.levelCovering`, for whoever arrived so and has this session. */
  readonly levelCovering: (arrival: Arrival, session: LiveSession, need: Level) => Level | undefined
  readonly clock: Clock
  readonly limits: Pick<Limits, 'unusedSessionMs' | 'refusalMs'>
  readonly metrics: Pick<Metrics, 'refused'>
  readonly log: Log
}

interface Entry {
  readonly admission: Promise<SharedSession>
  /** The grant whose arrival it was begun for; undefined: there was no session before. */
  readonly begunFor: string | undefined
}

export function createLeases(options: LeasesOptions): Leases {
  const { domain, gate, recheck, newestGrant, clock, limits, metrics, log } = options
  const entries = new Map<string, Entry>()
  const live = new Set<SharedSession>()
  let isDraining = false

  function forget(key: string, entry: Entry | undefined): void {
    if (entries.get(key) === entry) entries.delete(key)
  }

  function begin(key: string, arrival: Arrival, begunFor: string | undefined): Entry {
    const admission = gate.admit(arrival).then(
      (session) => {
        const one = createSharedSession(session, {
          clock,
          levelCovering: (its, need) => options.levelCovering(arrival, its, need),
          unusedMs: () => (isDraining ? 0 : limits.unusedSessionMs),
          onOver() {
            live.delete(one)
            forget(key, entry)
          },
          onFailure: (error) =>
            log.error({ ...session.labels, error: String(error) }, 'a session closed badly'),
        })
        if (one.isLive) live.add(one)
        return one
      },
      (error: unknown) => {
        forget(key, entry)
        throw error
      },
    )
    const entry: Entry = { admission, begunFor }
    entries.set(key, entry)
    return entry
  }

  /** Somebody else's admission failed: the refusal is theirs as well, at a time of its own. */
  async function shared({ admission }: Entry, arrivedMs: number): Promise<SharedSession> {
    try {
      return await admission
    } catch (error) {
      await untilRefusal(clock, limits, arrivedMs)
      throw error
    }
  }

  async function requireEvidence(
    arrival: Arrival,
    { identity, labels }: LiveSession,
    arrivedMs: number,
  ): Promise<void> {
    try {
      await recheck(arrival, identity)
    } catch (error) {
      const { code, message: why } = toSallyportError(error)
      const { remoteAddress, protocol } = arrival
      metrics.refused(protocol, code)
      log.info({ ...labels, code, why, remoteAddress }, 'no lease')
      await untilRefusal(clock, limits, arrivedMs)
      throw error
    }
  }

  async function leaseOf(key: string, arrival: Arrival, arrivedMs: number): Promise<Session> {
    let begunFor: string | undefined
    for (;;) {
      const known = entries.get(key)
      if (known === undefined) return (await begin(key, arrival, begunFor).admission).lease()
      const one = await shared(known, arrivedMs)
      const { session } = one
      if (one.isLive) {
        await requireEvidence(arrival, session, arrivedMs)
        const newest = newestGrant(arrival, session)
        const isNewest =
          newest === undefined || newest === session.labels.grantId || newest === known.begunFor
        // Nothing waits between this look and the lease.
        if (one.isLive && isNewest) return one.lease()
        begunFor = newest
      }
      // Cut meanwhile, ended, or of a grant that was followed by another: whoever has a lease of it keeps that.
      forget(key, known)
    }
  }

  return {
    lease(arrival) {
      const arrivedMs = clock.monotonicMs()
      const named = resourceNameOf(arrival.resource ?? '', domain) ?? noName
      const key = leaseKeyOf(arrival, named)
      return key === undefined ? gate.admit(arrival) : leaseOf(key, arrival, arrivedMs)
    },
    drain() {
      isDraining = true
      for (const one of [...live]) one.endUnused()
    },
    get size() {
      return entries.size
    },
  }
}
