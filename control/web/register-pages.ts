/** Registers what a browser sees at control: pages of the server's own making, with hooks that fit pages and not the API. */
import type { FastifyInstance } from 'fastify'
import { listApps } from '../apps/list-apps.ts'
import { nowMs } from '../control.ts'
import { notFound } from '../refusals.ts'
import { createRateLimit } from '../server/rate-limit.ts'
import { problemOf } from '../server/problem-of.ts'
import { homePage, welcomePage } from './home-page.ts'
import { policyOf, stylePath, styleSheet } from './layout.ts'
import { addressOf, show, whoIsThere, type PageContext } from './page-context.ts'
import { refusalPage } from './refusal-page.ts'
import { registerApps } from './register-apps.ts'
import { registerSignIn } from './register-sign-in.ts'
import { requireNavigation } from './same-origin.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Name of a page, for log and metrics; absent on routes of the API. */
    readonly page?: string
  }
}

const headers = {
  'strict-transport-security': 'max-age=31536000',
  'x-content-type-options': 'nosniff',
  'content-security-policy': policyOf({}),
  // To others nothing; to ourselves enough that browsers say where a form is from (Origin would else be null).
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cache-control': 'no-store',
} as const

const formBytesMax = 32 * 1024
const windowMs = 60_000
/** People reload, and pages that wait load themselves again. */
const seenMax = { perAddressMax: 1_200, overallMax: 12_000 }

export function registerPages(server: FastifyInstance, context: PageContext): void {
  const { control } = context
  const countSeen = createRateLimit({ clock: control.clock, windowMs, ...seenMax })
  void server.register(async (pages) => {
    pages.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: formBytesMax },
      (_request, body, done) => done(null, Object.fromEntries(new URLSearchParams(String(body)))),
    )
    pages.addHook('onRequest', async (request, reply) => {
      void reply.headers(headers)
      countSeen(addressOf(request))
      // What the provider sends is of no browser.
      if (request.routeOptions.config.page !== 'page back-channel-logout')
        requireNavigation(request)
    })
    pages.setErrorHandler(async (thrown, request, reply) => {
      const problem = problemOf(thrown)
      const { page } = request.routeOptions.config
      const why = thrown instanceof Error ? thrown.message : String(thrown)
      const fields = { page, code: problem.code, why, remoteAddress: addressOf(request) }
      if (problem.status >= 500) control.log.error(fields, 'a page failed')
      else control.log.info(fields, 'a page was refused')
      // Without the store nobody is known, and the page is shown all the same.
      const person = await whoIsThere(context, request).catch(() => undefined)
      return show(
        reply,
        problem.status,
        refusalPage(problem, { person, isOfApp: page === 'page open-app' }),
      )
    })

    pages.get(
      '/',
      { config: { page: 'page home' }, exposeHeadRoute: false },
      async (request, reply) => {
        const person = await whoIsThere(context, request)
        if (person === undefined) return show(reply, 200, welcomePage())
        const apps = await listApps(control, person)
        const how = { atMs: nowMs(control.clock), port: context.appsPort }
        return show(reply, 200, homePage(person, apps, how))
      },
    )
    pages.get('/assets/:file', { config: { page: 'page asset' } }, (request, reply) => {
      // Its name is of its content: it never changes.
      if (request.url !== stylePath) throw notFound('file')
      return reply
        .header('cache-control', 'public, max-age=31536000, immutable')
        .type('text/css; charset=utf-8')
        .send(styleSheet)
    })
    pages.get(
      '/*',
      { config: { page: 'page unknown' }, exposeHeadRoute: false },
      (request, reply) => {
        const { accept = '' } = request.headers
        // Whoever reads no pages asked the API.
        if (!accept.includes('text/html')) return reply.callNotFound()
        throw notFound('page')
      },
    )
    registerSignIn(pages, context)
    registerApps(pages, context)
  })
}
