import type { Control } from '../../control.ts'
import { notAllowed } from '../../refusals.ts'
import { listTokens } from '../../tokens/list-tokens.ts'
import { makeApiToken } from '../../tokens/make-api-token.ts'
import { makeConnectToken } from '../../tokens/make-connect-token.ts'
import { revokeToken } from '../../tokens/revoke-token.ts'
import { actorOf } from '../actor-of.ts'
import { ownScope, type Handlers, type PersonCaller } from '../handlers.ts'

type TokenRoute = 'connectTokenMake' | 'tokens' | 'tokenMake' | 'tokenRevoke'

export function tokenHandlers(control: Control): Pick<Handlers, TokenRoute> {
  return {
    async connectTokenMake(request, { body }) {
      return makeConnectToken(control, actorOf(request), serialOf(request.caller), body)
    },
    tokens: ({ caller }, { query }) => listTokens(control, ownScope(caller), query),
    async tokenMake(request, { body }) {
      return makeApiToken(control, actorOf(request), serialOf(request.caller), body)
    },
    tokenRevoke: (request, { params, body }) => {
      const { caller } = request
      const ownerId = caller.roles.includes('admin') ? undefined : caller.id
      return revokeToken(control, actorOf(request), ownerId, params.id, body.reason)
    },
  }
}

/** The routes are closed to API tokens: a token makes no tokens. */
function serialOf(caller: PersonCaller): string {
  if (caller.via === 'certificate') return caller.certificate.serial
  throw notAllowed('a token makes no tokens', 'use sally with a signed-in home')
}
