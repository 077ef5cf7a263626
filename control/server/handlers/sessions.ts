import type { Control } from '../../control.ts'
import { cutSession, type FindSession } from '../../sessions/cut-session.ts'
import { actorOf } from '../actor-of.ts'
import type { Handlers } from '../handlers.ts'

export function sessionHandlers(
  control: Control,
  findSession: FindSession,
): Pick<Handlers, 'sessionCut'> {
  return {
    async sessionCut(request, { params, body }) {
      await cutSession(control, actorOf(request), params.id, body.reason, findSession)
      return { done: true }
    },
  }
}
