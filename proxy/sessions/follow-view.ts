import type { GrantClaims } from '../../control/api/tokens.ts'
import type { Resource } from '../../control/api/resource.ts'
import type { ControlView, EvidenceFacts, ViewChange } from '../grants/control-view.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { CutReason } from '../../protocols/session.ts'
import { signIn } from './cut-words.ts'
import type { LiveSession } from './live-session.ts'
import type { Registry } from './registry.ts'
import { isSameWay } from './same-way.ts'

export interface FollowOptions {
  readonly view: ControlView
  readonly registry: Registry
  readonly clock: Clock
}

/** What was revoked, for the words of the cut. */
const evidenceWords: Readonly<Record<EvidenceFacts['kind'], string>> = {
  certificate: '',
  token: 'connect token',
  key: 'SSH key',
  login: signIn,
  browser: signIn,
  'api-token': 'API token',
}

/** Live sessions follow what the feed says, in the same turn of the event loop. */
export function followView(options: FollowOptions): void {
  const { view, registry, clock } = options
  const cut = (
    sessions: Iterable<LiveSession>,
    reason: CutReason,
    orderedAtMs: number,
    detail = '',
  ): void => void registry.cut(sessions, { reason, orderedAtMs, detail })

  const ofResource = (name: string): LiveSession[] =>
    [...registry.all()].filter((session) => session.labels.resource === name)

  const ofKey = (fingerprint: string): LiveSession[] =>
    [...registry.all()].filter(
      ({ identity }) => identity.kind === 'key' && identity.serial === fingerprint,
    )

  view.onChange((change: ViewChange): void => {
    switch (change.kind) {
      case 'grant': {
        for (const session of [...registry.ofGrant(change.claims.grantId)]) {
          regrant(session, change.claims)
        }
        return
      }
      case 'grant-revoked': {
        const ended = [...registry.ofGrant(change.grantId)].filter(
          (session) => session.claims.revision < change.revision,
        )
        return cut(ended, 'grant-revoked', change.orderedAtMs, change.reason)
      }
      case 'person-revoked':
        return cut(registry.ofPerson(change.personId), 'person-revoked', change.orderedAtMs)
      case 'certificate-revoked': {
        const shown = [...registry.all()].filter(
          (session) => session.identity.serial === change.serial,
        )
        const what = evidenceWords[shown[0]?.identity.kind ?? 'certificate']
        return cut(shown, 'certificate-revoked', change.orderedAtMs, what)
      }
      case 'ssh-key-removed':
        return cut(ofKey(change.fingerprint), 'certificate-revoked', change.orderedAtMs, 'SSH key')
      case 'ssh-key': {
        const others = ofKey(change.fingerprint).filter(
          (session) => session.identity.personId !== change.personId,
        )
        return cut(others, 'certificate-revoked', clock.wallMs(), 'SSH key')
      }
      case 'session-cut': {
        const session = registry.get(change.sessionId)
        if (session === undefined) return
        return cut([session], 'cut-by-admin', change.orderedAtMs, change.reason)
      }
      case 'resource-removed':
        return cut(ofResource(change.name), 'resource-removed', change.orderedAtMs)
      case 'resource':
        for (const session of ofResource(change.resource.name)) follow(session, change.resource)
        return
      case 'resynced':
        for (const session of [...registry.all()]) recheck(session)
        return
      case 'person-restored':
      case 'people-authorities':
      case 'ssh-authorities':
        return
    }
  })

  function follow(session: LiveSession, resource: Resource): void {
    if (isSameWay(session.resource, resource, session.labels.level)) session.reconfigure(resource)
    else cut([session], 'resource-removed', clock.wallMs(), 'its definition changed')
  }

  /** After a resync nobody says what ended meanwhile: what is not in the whole has ended. */
  function recheck(session: LiveSession): void {
    // Confirmed by a later state than this one: what matters to it is still on its way.
    if (session.confirmedPosition > view.position) return
    const claims = view.grants.get(session.labels.grantId)?.claims
    const resource = view.resource(session.labels.resource)
    // Its end is the session's own timer's.
    const objection = claims && view.objection(session.identity, claims, -Infinity)
    if (objection === 'person-revoked' || objection === 'certificate-revoked') {
      cut([session], objection, clock.wallMs())
    } else if (resource === undefined || objection === 'no-resource') {
      cut([session], 'resource-removed', clock.wallMs())
    } else if (claims === undefined || objection !== undefined) {
      cut([session], 'grant-revoked', clock.wallMs())
    } else {
      regrant(session, claims)
      follow(session, resource)
    }
  }

  function regrant(session: LiveSession, claims: GrantClaims): void {
    const same =
      claims.level === session.claims.level &&
      claims.resource === session.claims.resource &&
      claims.personId === session.claims.personId
    if (same) session.regrant(claims)
    else cut([session], 'grant-revoked', clock.wallMs(), 'the grant is another one now')
  }
}
