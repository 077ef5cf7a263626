import type { Control } from '../../control.ts'
import { listTokens } from '../../tokens/list-tokens.ts'
import { makeApiToken } from '../../tokens/make-api-token.ts'
import { makeConnectToken } from '../../tokens/make-connect-token.ts'
import { revokeToken } from '../../tokens/revoke-token.ts'
import { actorOf } from '../actor-of.ts'
import { ownScope, type Handlers } from '../handlers.ts'
import { serialOf } from '../serial-of.ts'

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
