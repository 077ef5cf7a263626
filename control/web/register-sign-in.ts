/** Signing in and out on the console's origin. */
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { nowMs } from '../control.ts'
import { acceptBackChannelLogout } from '../login/back-channel-logout.ts'
import {
  backChannelLogoutPath,
  beginBrowserLogin,
  browserLoginMs,
  finishBrowserLogin,
  signInCallbackPath,
} from '../login/browser-login.ts'
import { isFormToken } from '../login/console-session.ts'
import { attemptRefused } from '../login/login-refusals.ts'
import { signOutBrowser } from '../login/sign-out-browser.ts'
import { logoutTokenCharactersMax } from '../login/verify-logout-token.ts'
import { notAllowed } from '../refusals.ts'
import { problemOf } from '../server/problem-of.ts'
import { createRateLimit } from '../server/rate-limit.ts'
import { signOutPath } from '../api/http.ts'
import {
  attemptCookie,
  clearCookie,
  consoleCookie,
  readCookies,
  setCookie,
  spareAttempts,
} from './cookies.ts'
import { ownPath } from './own-path.ts'
import { addressOf, goTo, show, whoIsThere, type PageContext } from './page-context.ts'
import { read } from './read.ts'
import { requireOwnForm } from './same-origin.ts'
import { signedOutPage, signOutPage } from './sign-out-page.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)
const signInQuery = z.object({ next: z.string().optional(), here: z.string().optional() })
/** RFC 6749, 4.1.2, and RFC 9207. */
const callbackQuery = z.object({
  state: text(512).min(1),
  code: text(4_096).min(1).optional(),
  iss: text(2_048).optional(),
})
const logoutForm = z.object({ logout_token: text(logoutTokenCharactersMax).min(1) })
const signOutForm = z.object({ token: text(100) })

const windowMs = 60_000
/** As for `sally login`: an office may sign in from one address in the morning. */
const begunMax = { perAddressMax: 60, overallMax: 600 }
const askedMax = { perAddressMax: 120, overallMax: 1_200 }
/** The provider has few addresses, and says of each sign-in that it is over. */
const endedMax = { perAddressMax: 600, overallMax: 6_000 }

export function registerSignIn(pages: FastifyInstance, context: PageContext): void {
  const { control, login, origin } = context
  const { clock } = control
  const countBegun = createRateLimit({ clock, windowMs, ...begunMax })
  const countAsked = createRateLimit({ clock, windowMs, ...askedMax })
  // Of its own: whoever floods the one must not close the other.
  const countEnded = createRateLimit({ clock, windowMs, ...endedMax })

  pages.get(
    '/sign-in',
    { config: { page: 'page sign-in' }, exposeHeadRoute: false },
    async (request, reply) => {
      const { next: given, here } = read(signInQuery, request.query)
      const next = ownPath(given)
      if ((await whoIsThere(context, request)) !== undefined) return goTo(reply, next)
      // Cookies belong to a host, and the provider sends people back to the one it knows.
      if (`https://${request.headers.host}` !== origin() && here === undefined) {
        return goTo(reply, `${origin()}/sign-in?here=1&next=${encodeURIComponent(next)}`)
      }
      countBegun(addressOf(request))
      const redirectUri = origin() + signInCallbackPath
      const begun = await beginBrowserLogin(login, addressOf(request), { redirectUri, next })
      const held = setCookie(
        attemptCookie(begun.state),
        `${begun.id}.${begun.secret}`,
        browserLoginMs,
      )
      const spare = spareAttempts(readCookies(request.headers.cookie))
      void reply.header('set-cookie', [...spare.map(clearCookie), held])
      return goTo(reply, begun.authorizationUrl)
    },
  )

  pages.get(
    signInCallbackPath,
    { config: { page: 'page sign-in-callback' }, exposeHeadRoute: false },
    async (request, reply) => {
      countAsked(addressOf(request))
      const given = read(callbackQuery, request.query)
      const name = attemptCookie(given.state)
      const value = readCookies(request.headers.cookie).get(name) ?? ''
      const [id = '', held = ''] = value.split('.')
      if (!/^[0-9a-f-]{36}\.[A-Za-z0-9_-]{43}$/.test(value))
        throw attemptRefused('it was not begun with this browser')
      void reply.header('set-cookie', clearCookie(name))
      const { secret, next, endsAtMs } = await finishBrowserLogin(
        login,
        addressOf(request),
        { id, secret: held },
        given,
        await whoIsThere(context, request),
      )
      const cookie = setCookie(consoleCookie, secret, endsAtMs - nowMs(clock))
      void reply.header('set-cookie', cookie)
      return goTo(reply, next)
    },
  )

  pages.get(
    signOutPath,
    { config: { page: 'page sign-out' }, exposeHeadRoute: false },
    async (request, reply) =>
      show(reply, 200, signOutPage(await whoIsThere(context, request), nowMs(clock))),
  )
  pages.post(signOutPath, { config: { page: 'page signed-out' } }, async (request, reply) => {
    requireOwnForm(request, origin())
    const { token } = read(signOutForm, request.body)
    const person = await whoIsThere(context, request)
    void reply.header('set-cookie', clearCookie(consoleCookie))
    if (person === undefined) return show(reply, 200, signedOutPage(null))
    if (!isFormToken(person, token)) {
      void reply.removeHeader('set-cookie')
      throw notAllowed('this form was not made for your session', 'load the page again')
    }
    const { endSessionUrl } = await signOutBrowser(login, person, addressOf(request))
    return show(reply, 200, signedOutPage(endSessionUrl))
  })

  // OpenID Connect Back-Channel Logout 1.0, 2.5 and 2.8: from the provider, without a browser.
  pages.post(
    backChannelLogoutPath,
    { config: { page: 'page back-channel-logout' } },
    async (request, reply) => {
      try {
        countEnded(addressOf(request))
        const { logout_token: token } = read(logoutForm, request.body)
        await acceptBackChannelLogout(login, addressOf(request), token)
        return await reply.status(200).send()
      } catch (error) {
        const { status, code, detail } = problemOf(error)
        control.log.warn({ code, why: String(error) }, 'a back-channel logout was refused')
        const answer = { error: status >= 500 ? 'server_error' : 'invalid_request' }
        return reply
          .status(status === 401 || status === 403 ? 400 : status)
          .type('application/json')
          .send({ ...answer, error_description: detail })
      }
    },
  )
}
