import type { Control } from '../../control.ts'
import { extendGrant } from '../../grants/extend-grant.ts'
import { getGrant, listGrants } from '../../grants/list-grants.ts'
import { makeGrant } from '../../grants/make-grant.ts'
import { revokeGrant } from '../../grants/revoke-grant.ts'
import { actorOf } from '../actor-of.ts'
import { ownScope, type Handlers } from '../handlers.ts'

type GrantRoute = 'grants' | 'grant' | 'grantMake' | 'grantExtend' | 'grantRevoke'

export function grantHandlers(control: Control): Pick<Handlers, GrantRoute> {
  return {
    grants: ({ caller }, { query }) => listGrants(control, ownScope(caller), query),
    grant: ({ caller }, { params }) => getGrant(control, ownScope(caller), params.id),
    grantMake: (request, { body }) => makeGrant(control, actorOf(request), body),
    grantExtend: (request, { params, body }) =>
      extendGrant(control, actorOf(request), params.id, body),
    grantRevoke: (request, { params, body }) =>
      revokeGrant(control, actorOf(request), params.id, body.reason),
  }
}
