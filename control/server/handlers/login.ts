import { revokeCertificate } from '../../issue/revoke-certificate.ts'
import { beginCodeLogin, finishCodeLogin } from '../../login/code-login.ts'
import { beginDeviceLogin, pollDeviceLogin } from '../../login/device-login.ts'
import { isLoginOf } from '../../login/is-login-of.ts'
import { endLogin } from '../../login/end-login.ts'
import { listLogins } from '../../login/list-logins.ts'
import type { LoginContext } from '../../login/login-context.ts'
import { refreshLogin } from '../../login/refresh-login.ts'
import { actorOf } from '../actor-of.ts'
import { notAllowed, notFound } from '../../refusals.ts'
import { ownScope, type Handlers, type PersonCaller } from '../handlers.ts'
import { createRateLimit } from '../rate-limit.ts'

type LoginRoute =
  | 'loginDevice'
  | 'loginDevicePoll'
  | 'loginCode'
  | 'loginCodeFinish'
  | 'loginRefresh'
  | 'logout'
  | 'logins'
  | 'loginEnd'

const windowMs = 60_000
/** An office may sign in from one address in the morning; a stranger has no use for more. */
const begunMax = { perAddressMax: 60, overallMax: 600 }
const askedMax = { perAddressMax: 1_200, overallMax: 12_000 }

export function loginHandlers(context: LoginContext): Pick<Handlers, LoginRoute> {
  const { clock } = context.control
  const countBegun = createRateLimit({ clock, windowMs, ...begunMax })
  const countAsked = createRateLimit({ clock, windowMs, ...askedMax })
  return {
    async loginDevice({ remoteAddress }, { body }) {
      countBegun(remoteAddress)
      return beginDeviceLogin(context, remoteAddress, body)
    },
    async loginDevicePoll({ remoteAddress }, { params, body }) {
      countAsked(remoteAddress)
      return pollDeviceLogin(context, remoteAddress, params.id, body.secret)
    },
    async loginCode({ remoteAddress }, { body }) {
      countBegun(remoteAddress)
      return beginCodeLogin(context, remoteAddress, body)
    },
    async loginCodeFinish({ remoteAddress }, { params, body }) {
      countAsked(remoteAddress)
      return finishCodeLogin(context, remoteAddress, params.id, body)
    },
    loginRefresh: (request, { body }) => {
      const { login } = byCertificate(request.caller)
      return refreshLogin(context, actorOf(request), login?.id, body)
    },
    async logout(request) {
      const caller = byCertificate(request.caller)
      if (caller.login === null) {
        await revokeCertificate(
          context.control,
          actorOf(request),
          caller.certificate.serial,
          'signed out',
          { lost: false },
        )
        return { done: true, endSessionUrl: null }
      }
      await endLogin(context, actorOf(request), caller.login.id, 'signed out')
      // The sign-out is done; where the provider cannot be asked, there is no link.
      const endSessionUrl = (await context.provider?.endSessionUrl().catch(() => null)) ?? null
      return { done: true, endSessionUrl }
    },
    logins: ({ caller }, { query }) => listLogins(context.control, ownScope(caller), query),
    async loginEnd(request, { params, body }) {
      const { caller } = request
      const ownerId = caller.roles.includes('admin') ? undefined : caller.id
      if (await isLoginOf(context.control, params.id, ownerId)) {
        await endLogin(context, actorOf(request), params.id, body.reason)
        return { done: true }
      }
      throw notFound('sign-in')
    },
  }
}

/** The routes are closed to API tokens; a token has no sign-in of its own to renew or end. */
function byCertificate(caller: PersonCaller): PersonCaller & { readonly via: 'certificate' } {
  if (caller.via === 'certificate') return caller
  throw notAllowed('an API token cannot do this', 'end it instead: sally token revoke')
}
