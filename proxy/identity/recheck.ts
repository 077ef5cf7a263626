import type { Arrival } from '../../protocols/engine.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { ControlView, EvidenceFacts } from '../grants/control-view.ts'
import type { BrowserSessions } from './browser-sessions.ts'
import { revokedError, type Identify, type Identity } from './identify.ts'

export interface RecheckOptions {
  readonly identify: Identify
  readonly browserSessions: BrowserSessions
  readonly view: Pick<ControlView, 'certificateObjection'>
  readonly controlClock: Pick<ControlClock, 'leftMs'>
}

/**
 * Looks again at evidence that led to a session before: whether it would still begin one. The same bytes stand for the same facts, so control
 * need not be asked whose an API token is. Rejects as the first look would.
 */
export function createRecheck(options: RecheckOptions) {
  const { identify, browserSessions, view, controlClock } = options
  return async (arrival: Arrival, facts: Identity | EvidenceFacts): Promise<void> => {
    const { evidence, remoteAddress } = arrival
    if (evidence.kind === 'browser-session') await browserSessions.redeem({ arrival })
    if (evidence.kind === 'client-certificate') identify(evidence, remoteAddress)
    const email = 'email' in facts ? facts.email : ''
    const objection = view.certificateObjection(facts)
    if (objection !== undefined) throw revokedError(objection, { ...facts, email })
    const expiresAtMs = 'expiresAtMs' in facts ? facts.expiresAtMs : undefined
    if (expiresAtMs !== undefined && controlClock.leftMs(expiresAtMs) <= 0) {
      throw new SallyportError('evidence-expired', `${facts.kind} ${facts.serial} has ended`, {
        clientMessage: 'the time of what you signed in with is over',
        hint: 'sign in again; or make a new token: sally proxy-token',
      })
    }
  }
}
