/**
 * How fresh the view is: control's signed word (a lease) that it was complete at some moment. It decides what may
 * happen while control cannot be reached; it is kept on disk, so that a restart does not forget it.
 */
import { existsSync, readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { verifyToken, type LeaseClaims } from '../../control/api/tokens.ts'
import type { Resource } from '../../control/api/resource.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { skewMsMax, type ControlClock } from '../control-link/control-clock.ts'
import type { ControlView } from './control-view.ts'

/** A lease is written down this often; an older one on disk only makes a restart stricter. */
const writeEveryMs = 5_000

export interface Freshness {
  /** Takes a lease of a heartbeat. Rejects with `evidence-invalid` for one that is not ours. */
  renew(token: string): Promise<void>
  /** Since when the view is known to be complete, monotonic ms; undefined if never since the start. */
  readonly freshAtMonotonicMs: number | undefined
  /** Age of the newest lease by the stricter clock, ms; undefined without one. */
  leaseAgeMs(): number | undefined
  /** Whether a lease lets a new session of this resource open while control cannot be reached. */
  covers(resource: Resource): boolean
}

export interface FreshnessOptions {
  readonly directory: string
  readonly realm: string
  readonly proxyId: string
  readonly view: ControlView
  readonly clock: Clock
  readonly controlClock: ControlClock
  /** The last position on disk: a lease past it must not be written down. */
  readonly onDisk: () => number
  readonly log: Log
}

export async function createFreshness(options: FreshnessOptions): Promise<Freshness> {
  const { realm, proxyId, view, clock, controlClock, log } = options
  const path = join(options.directory, 'lease')
  let lease: LeaseClaims | undefined
  let freshAtMonotonicMs: number | undefined
  let writtenAtMs = -Infinity

  async function verified(token: string): Promise<LeaseClaims> {
    const claims = await verifyToken('lease', token, view.keys.find)
    if (claims.realm !== realm || claims.proxyId !== proxyId) {
      throw new SallyportError('evidence-invalid', 'a lease for another proxy')
    }
    if (claims.position > view.position) {
      throw new SallyportError('evidence-invalid', 'a lease for a view that is not here yet')
    }
    return claims
  }

  if (existsSync(path)) {
    try {
      lease = await verified(readFileSync(path, 'ascii'))
    } catch (error) {
      log.warn({ error: String(error) }, 'the lease on disk does not count')
    }
  }

  const leaseAgeMs = (): number | undefined =>
    lease === undefined ? undefined : controlClock.ageMs(lease.issuedAtMs)
  return {
    async renew(token) {
      const claims = await verified(token)
      // An old heartbeat that is sent again must not make anything look fresher.
      if (lease !== undefined && claims.issuedAtMs < lease.issuedAtMs) return
      lease = claims
      freshAtMonotonicMs = clock.monotonicMs()
      if (claims.position > options.onDisk()) return
      if (freshAtMonotonicMs - writtenAtMs < writeEveryMs) return
      writtenAtMs = freshAtMonotonicMs
      try {
        // Not synced: a lease that a power loss tore or took only makes the restart stricter.
        await writeFile(`${path}.tmp`, token, { mode: 0o600 })
        await rename(`${path}.tmp`, path)
      } catch (error) {
        log.error({ error: String(error), path }, 'the lease cannot be written')
      }
    },
    get freshAtMonotonicMs() {
      return freshAtMonotonicMs
    },
    leaseAgeMs,
    covers(resource) {
      const ageMs = leaseAgeMs()
      if (ageMs === undefined || ageMs < -skewMsMax) return false
      const { policy, maxMs, graceMs } = resource.outage
      return ageMs <= (policy === 'keep' ? maxMs : graceMs)
    },
  }
}
