import type { Actor } from '../control.ts'
import type { PersonCaller, RequestContext } from './handlers.ts'

/** The caller as control's own chain names them. */
export function actorOf({
  caller,
  remoteAddress,
}: {
  readonly caller: PersonCaller
  readonly remoteAddress: RequestContext['remoteAddress']
}): Actor {
  const actor = { id: caller.id, email: caller.email, remoteAddress }
  return caller.via === 'token' ? { ...actor, apiTokenId: caller.token.id } : actor
}
