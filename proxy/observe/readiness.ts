import type { Spool } from '../audit/spool-types.ts'
import type { ControlLink } from '../control-link/open-control-link.ts'
import type { Listener } from '../listener.ts'
import type { Check } from './health-server.ts'

export interface ReadinessParts {
  readonly control: Pick<ControlLink, 'view' | 'link' | 'freshness'>
  readonly spool: Pick<Spool, 'refusing' | 'failure'>
  readonly listeners: readonly Listener[]
  readonly isDraining: boolean
  /** Why the state cannot be written, if so. */
  readonly stateFailure: Error | undefined
}

/**
 * Whether this proxy can open sessions. A lost link alone does not make it unready: cached grants and leases carry it, and
 * a fleet that control left must not be taken out of service as a whole.
 */
export function readinessChecks(parts: ReadinessParts): Record<string, Check> {
  const { control, spool, listeners, isDraining, stateFailure } = parts
  const { view, link, freshness } = control
  const ageMs = freshness.leaseAgeMs()
  const isKnown = view.position > 0
  return {
    feed: {
      ok: isKnown && link.state !== 'refused',
      detail: `link ${link.state}, position ${view.position}, newest lease ${
        ageMs === undefined ? 'none' : `${Math.round(ageMs)} ms old`
      }`,
    },
    state: { ok: stateFailure === undefined, detail: stateFailure?.message ?? 'written' },
    spool: {
      ok: !spool.refusing,
      detail: spool.failure?.message ?? (spool.refusing ? 'nearly full' : 'writable'),
    },
    listeners: {
      ok: listeners.every((listener) => listener.isListening),
      detail: listeners.map(({ port }) => port).join(', '),
    },
    draining: { ok: !isDraining, detail: isDraining ? 'draining' : 'no' },
  }
}
