import type { Arrival } from '../../protocols/engine.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { ControlView } from '../grants/control-view.ts'
import { chooseGrant } from '../grants/grant-cache.ts'
import type { LiveSession } from './live-session.ts'

/**
 * The grant that whoever has this session would get now, if they began anew; undefined where their evidence names the grant, or
 * there is none.
 */
export function newestGrantOf(
  view: Pick<ControlView, 'grants' | 'objection' | 'resource'>,
  controlClock: Pick<ControlClock, 'ageMs'>,
  { evidence, wanted }: Arrival,
  { identity, labels }: Pick<LiveSession, 'identity' | 'labels'>,
): string | undefined {
  const resource = view.resource(labels.resource)
  if (resource === undefined || evidence.kind === 'browser-session') return undefined
  const held = view.grants.of(labels.personId, labels.resource)
  const nowMs = controlClock.ageMs(0)
  const grant = chooseGrant(
    held,
    resource,
    wanted,
    ({ claims }) => view.objection(identity, claims, nowMs) === undefined,
  )
  return grant?.claims.grantId
}
