import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Cut, CutReason, Level, SessionLabels } from '../../protocols/session.ts'
import type { CutOrder } from './session-parts.ts'

/** How the person may come back. */
function askAgain(resource: string, level: Level): string {
  return `sally request ${resource} --level ${level} --reason TEXT --wait`
}

/** What is revoked by signing out. */
export const signIn = 'sign-in'

/** What a person is told when their session is cut: what happened, and what to do next. */
export function cutWords(
  reason: CutReason,
  { resource, level }: { readonly resource: string; readonly level: Level },
  detail: string,
): { message: string; hint: string } {
  const because = detail === '' ? '' : `: ${detail}`
  const seeGrants = 'see what you can reach with: sally resources'
  switch (reason) {
    case 'grant-expired':
      return {
        message: `your access to "${resource}" has ended`,
        hint: `ask again: ${askAgain(resource, level)}`,
      }
    case 'grant-revoked':
      return {
        message: `your access to "${resource}" was revoked${because}`,
        hint: `if you still need it: ${askAgain(resource, level)}`,
      }
    case 'person-revoked':
      return { message: 'your access was revoked', hint: 'ask an admin' }
    case 'certificate-revoked':
      // Mostly they did it themselves.
      if (detail === signIn) return { message: 'you were signed out', hint: 'sign in again' }
      return {
        message: `your ${detail || 'certificate'} was revoked`,
        hint: `get a new ${detail || 'certificate'}, then connect again`,
      }
    case 'resource-removed':
      return {
        message: `"${resource}" was removed or changed${because}`,
        hint: `connect again; ${seeGrants}`,
      }
    case 'cut-by-admin':
      return {
        message: `an admin ended this session${because}`,
        hint: 'ask the admin before you connect again',
      }
    case 'idle':
      return {
        message: `this session was idle for too long${because}`,
        hint: 'connect again: your grant goes on',
      }
    case 'outage':
      return {
        message: `control cannot be reached, and "${resource}" allows no sessions without it`,
        hint: 'connect again later; tell the operator of the proxy if it lasts',
      }
    case 'audit-unwritable':
    case 'audit-full':
      return {
        message: 'this session cannot be recorded any more, so it has ended',
        hint: 'tell the operator of the proxy; connect again once it is repaired',
      }
    case 'proxy-draining':
      return { message: 'this proxy is being stopped', hint: 'connect again' }
    case 'protocol-violation':
      return {
        message: `this session broke the rules of its protocol${because}`,
        hint: 'tell the operator of the proxy which client you use',
      }
    case 'confirmation-denied':
      return {
        message: `control does not confirm your access to "${resource}"`,
        hint: `what you may do: sally why ${resource}; ${seeGrants}`,
      }
  }
}

/** What the engine is told of a cut, in words for the client. */
export function cutOf(order: CutOrder, labels: SessionLabels): Cut {
  const { reason, orderedAtMs, detail } = order
  return { reason, orderedAtMs, ...(order.words ?? cutWords(reason, labels, detail)) }
}

/** What a cut means to somebody who is not in yet. Without an order, the session is closing. */
export function cutError(
  order: Pick<CutOrder, 'reason' | 'detail'> | undefined,
  labels: SessionLabels,
): SallyportError {
  const { reason, detail } = order ?? { reason: 'confirmation-denied', detail: '' }
  const { message: clientMessage, hint } = cutWords(reason, labels, detail)
  return new SallyportError('access-denied', `cut: ${reason} ${detail}`, { clientMessage, hint })
}
