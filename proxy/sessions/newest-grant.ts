import type { Arrival } from '../../protocols/engine.ts'
import { levels, type Level } from '../../protocols/session.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { ControlView } from '../grants/control-view.ts'
import { chooseGrant, type HeldGrant } from '../grants/grant-cache.ts'
import type { LiveSession } from './live-session.ts'

type View = Pick<ControlView, 'grants' | 'objection' | 'resource'>
type Time = Pick<ControlClock, 'ageMs'>
type Held = Pick<LiveSession, 'identity' | 'labels'>

/**
 * The grant that whoever has this session would get now, if they began anew; undefined where their evidence names the grant, or
 * there is none.
 */
export function newestGrantOf(
  view: View,
  controlClock: Time,
  { evidence, wanted }: Arrival,
  session: Held,
): string | undefined {
  if (evidence.kind === 'browser-session') return undefined
  return chooseUsable(view, controlClock, session, wanted)?.claims.grantId
}

/** As `Session.levelCovering`: undefined as well where the arrival named a level, and so wanted no other. */
export function levelCovering(
  view: View,
  controlClock: Time,
  { evidence, wanted }: Arrival,
  session: Held,
  need: Level,
): Level | undefined {
  if (evidence.kind === 'browser-session' || wanted !== '') return undefined
  return levels
    .slice(levels.indexOf(need))
    .find((level) => chooseUsable(view, controlClock, session, level)?.claims.level === level)
}

function chooseUsable(
  view: View,
  controlClock: Time,
  { identity, labels }: Held,
  wanted: string,
): HeldGrant | undefined {
  const resource = view.resource(labels.resource)
  if (resource === undefined) return undefined
  const held = view.grants.of(labels.personId, labels.resource)
  const nowMs = controlClock.ageMs(0)
  return chooseGrant(
    held,
    resource,
    wanted,
    ({ claims }) => view.objection(identity, claims, nowMs) === undefined,
  )
}
