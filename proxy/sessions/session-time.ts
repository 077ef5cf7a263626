/** What moves while a session goes on: its grant, its resource, and the time that they leave it. */
import type { Resource } from '../../control/api/resource.ts'
import type { GrantClaims } from '../../control/api/tokens.ts'
import type { CutReason } from '../../protocols/session.ts'
import { createMonitor, warningLine, type Monitor } from './monitor.ts'
import type { SessionFacts, SessionTools } from './session-parts.ts'

export interface SessionTime extends Pick<Monitor, 'opened' | 'clockJumped' | 'stop'> {
  readonly claims: GrantClaims
  readonly resource: Resource
  /** Monotonic ms. */
  readonly endMonotonicMs: number
  /** As `Session.warning`. */
  readonly warning: string | undefined
  /** The timer of the grant's end; cuts at once if it has passed. */
  arm(): void
  /** A higher revision of the session's grant: its end moves either way. */
  regrant(claims: GrantClaims): void
  /** The resource changed in what does not end its sessions. */
  reconfigure(resource: Resource): void
}

export interface SessionTimeListener {
  readonly lastTrafficMs: () => number
  readonly cut: (reason: CutReason, detail: string, orderedAtMs: number) => void
  readonly notify: (line: string) => void
}

export function createSessionTime(
  facts: SessionFacts,
  { clock, controlClock, limits }: Pick<SessionTools, 'clock' | 'controlClock' | 'limits'>,
  { lastTrafficMs, cut, notify }: SessionTimeListener,
): SessionTime {
  let { claims, resource } = facts
  const { labels } = facts
  const line = (leftMs: number): string => warningLine(labels.resource, labels.grantId, leftMs)
  const monitor = createMonitor({
    ...{ clock, controlClock, lastTrafficMs },
    onExpired: () => cut('grant-expired', '', Math.min(claims.expiresAtMs, clock.wallMs())),
    onIdle: (idleMs) => cut('idle', `${idleMs / 1_000} s`, clock.wallMs()),
    onWarning: (leftMs) => notify(line(leftMs)),
  })
  const follow = (): void => {
    monitor.setWarnings(resource.warnBeforeMs)
    monitor.setIdle(resource.idleMs === 0 ? limits.idleMs : resource.idleMs)
  }
  return {
    opened: () => monitor.opened(),
    clockJumped: () => monitor.clockJumped(),
    stop: () => monitor.stop(),
    get claims() {
      return claims
    },
    get resource() {
      return resource
    },
    get endMonotonicMs() {
      return monitor.endMonotonicMs
    },
    get warning() {
      const leftMs = monitor.endMonotonicMs - clock.monotonicMs()
      const isNear = resource.warnBeforeMs.some((beforeMs) => leftMs <= beforeMs)
      return isNear ? line(roundedUp(leftMs)) : undefined
    },
    arm() {
      monitor.setEnd(claims.expiresAtMs)
      follow()
    },
    regrant(newer) {
      if (newer.revision <= claims.revision) return
      claims = newer
      monitor.setEnd(claims.expiresAtMs)
    },
    reconfigure(changed) {
      resource = changed
      follow()
    },
  }
}

/** To minutes, in the last one to seconds: a warning says the moment that it was announced for. */
function roundedUp(leftMs: number): number {
  const unitMs = leftMs > 60_000 ? 60_000 : 1_000
  return Math.ceil(leftMs / unitMs) * unitMs
}
