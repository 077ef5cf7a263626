import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import type { Freshness } from '../grants/freshness.ts'
import type { Identities } from '../identity/identities.ts'
import type { Registry } from './registry.ts'

const lookEveryMs = 250
/** The wall clock moved this much against the monotonic one between two looks: it was set, or the machine slept. */
const jumpMsMin = 500

export interface WatchOutageOptions {
  readonly registry: Registry
  readonly identities: Pick<Identities, 'clockJumped'>
  readonly freshness: Pick<Freshness, 'freshAtMonotonicMs'>
  /** Control is there and wants nothing of this proxy. */
  readonly isRefused: () => boolean
  readonly clock: Clock
}

/**
 * Cuts sessions whose outage policy does not let them go on without control, and lets every session and identity look at its end
 * again when the wall clock jumped. Returns how to stop.
 */
export function watchOutage(options: WatchOutageOptions): () => void {
  const { registry, identities, freshness, clock } = options
  const startedMs = clock.monotonicMs()
  let offsetMs = clock.wallMs() - startedMs
  let timer: Timer

  const look = (): void => {
    timer = clock.startTimer(lookEveryMs, look)
    const nowMs = clock.monotonicMs()
    const presentOffsetMs = clock.wallMs() - nowMs
    if (Math.abs(presentOffsetMs - offsetMs) > jumpMsMin) {
      for (const session of [...registry.all()]) session.clockJumped()
      identities.clockJumped()
    }
    offsetMs = presentOffsetMs

    const lostMs = nowMs - (freshness.freshAtMonotonicMs ?? startedMs)
    const everyone = options.isRefused()
    const lost = [...registry.all()].filter(({ resource }) => {
      const { policy, graceMs } = resource.outage
      // `keep` and `hold` are for a control that cannot be reached, not for one that says no.
      return lostMs > graceMs && (everyone || policy === 'cut')
    })
    if (lost.length === 0) return
    const detail = `no word from control for ${Math.round(lostMs)} ms`
    registry.cut(lost, { reason: 'outage', orderedAtMs: clock.wallMs(), detail })
  }
  timer = clock.startTimer(lookEveryMs, look)
  return () => timer.cancel()
}
