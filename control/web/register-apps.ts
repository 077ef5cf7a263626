/** From an app to the console and back: a grant lets the browser on; without one there is a page that helps to get one. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { openAppPath } from '../api/http.ts'
import { level, type Level } from '../api/names.ts'
import { requestMake, type AccessRequest, type Why } from '../api/request.ts'
import { askerOf, enterApp, findGrant, findWay, type Way } from '../apps/open-app.ts'
import { verifyVisit, visitCharactersMax, type Visit } from '../apps/visit.ts'
import { nowMs } from '../control.ts'
import { isFormToken, type ConsolePerson } from '../login/console-session.ts'
import { notAllowed } from '../refusals.ts'
import { explainAccess } from '../requests/explain-access.ts'
import { makeRequest } from '../requests/make-request.ts'
import { createRateLimit } from '../server/rate-limit.ts'
import { problemOf } from '../server/problem-of.ts'
import { askPage } from './ask-page.ts'
import { addressOf, goTo, show, whoIsThere, type PageContext } from './page-context.ts'
import { read } from './read.ts'
import { sentence } from './refusal-page.ts'
import { requireOwnForm } from './same-origin.ts'
import { goOnPage, waitingPage } from './waiting-page.ts'

const visitText = z.string().min(1).max(visitCharactersMax)
const visitQuery = z.object({ visit: visitText, asked: z.string().max(1).optional() })
const requestForm = z.object({
  visit: visitText,
  token: z.string().max(100),
  level: z.string().max(16),
  forMs: z.string().max(16),
  reason: z.string().max(4_000),
})
type RequestForm = z.infer<typeof requestForm>

const windowMs = 60_000
const visitsMax = { perAddressMax: 600, overallMax: 12_000 }

export function registerApps(pages: FastifyInstance, context: PageContext): void {
  const { control, origin } = context
  const countVisit = createRateLimit({ clock: control.clock, windowMs, ...visitsMax })

  pages.get(
    openAppPath,
    { config: { page: 'page open-app' }, exposeHeadRoute: false },
    async (request, reply) => {
      countVisit(addressOf(request))
      const { visit: token, asked } = read(visitQuery, request.query)
      const visit = await verifyVisit(control, token)
      const path = `${openAppPath}?visit=${encodeURIComponent(token)}`
      const person = await whoIsThere(context, request)
      if (person === undefined) return goTo(reply, `/sign-in?next=${encodeURIComponent(path)}`)
      const way = await findWay(control, person, visit)
      if (way.kind === 'no-grant') return showNoGrant(reply, { person, visit, token, way })
      if (asked !== undefined) return show(reply, 200, goOnPage(person, visit.resource, path))
      return goTo(reply, await enterApp(control, person, visit, way.grant))
    },
  )

  pages.post('/apps/request', { config: { page: 'page request' } }, async (request, reply) => {
    requireOwnForm(request, origin())
    countVisit(addressOf(request))
    const form = read(requestForm, request.body)
    const person = await whoIsThere(context, request)
    const path = `${openAppPath}?visit=${encodeURIComponent(form.visit)}`
    if (person === undefined) return goTo(reply, `/sign-in?next=${encodeURIComponent(path)}`)
    if (!isFormToken(person, form.token)) {
      throw notAllowed('this form was not made for your session', 'load the page again')
    }
    const visit = await verifyVisit(control, form.visit)
    const way = await findWay(control, person, visit)
    const complaint = way.kind === 'granted' ? undefined : await ask(request, person, visit, form)
    if (complaint === undefined) return goTo(reply, `${path}&asked=1`)
    const { level: wanted, forMs, reason } = form
    return showNoGrant(reply, {
      ...{ person, visit, token: form.visit, way: await again(person, visit, way) },
      ...{ complaint, given: { level: wanted, forMs, reason } },
    })
  })

  /** What was wrong, in words for whoever asked; undefined where nothing was. */
  async function ask(
    request: FastifyRequest,
    person: ConsolePerson,
    visit: Visit,
    form: RequestForm,
  ): Promise<{ status: number; words: string } | undefined> {
    const parsed = requestMake.safeParse({
      ...{ resource: visit.resource, level: form.level, reason: form.reason.trim() },
      forMs: Number(form.forMs),
    })
    if (!parsed.success) {
      return {
        status: 400,
        words: 'Choose a level and a time, and say why in at most 1000 characters.',
      }
    }
    const actor = { id: person.id, email: person.email, remoteAddress: addressOf(request) }
    try {
      await makeRequest(control, actor, parsed.data, async (sql) => {
        const wanted = { ...visit, level: parsed.data.level }
        const atMs = nowMs(control.clock)
        return (await findGrant(sql, control.realm, person, wanted, atMs)) === undefined
      })
      return undefined
    } catch (error) {
      // Who clicked twice has what they asked for.
      if ((await findWay(control, person, visit)).kind === 'granted') return undefined
      if (!(error instanceof SallyportError) || error.code === 'not-found') throw error
      const { status, detail } = problemOf(error)
      if (status >= 500) throw error
      return { status, words: sentence(detail) }
    }
  }

  /** What there is now: somebody may have decided meanwhile. */
  async function again(
    person: ConsolePerson,
    visit: Visit,
    before: Way,
  ): Promise<Extract<Way, { kind: 'no-grant' }>> {
    const why = await explainAccess(control, askerOf(person), visit.resource)
    return before.kind === 'no-grant'
      ? { ...before, why }
      : { kind: 'no-grant', why, lastEnd: undefined, refusal: undefined }
  }

  function showNoGrant(
    reply: FastifyReply,
    parts: {
      person: ConsolePerson
      visit: Visit
      token: string
      way: Extract<Way, { kind: 'no-grant' }>
      complaint?: { status: number; words: string }
      given?: { level: string; forMs: string; reason: string }
    },
  ): FastifyReply {
    const { person, visit, token, way, complaint, given } = parts
    const atMs = nowMs(control.clock)
    const waiting = pendingOf(way.why, visit.level)
    if (waiting !== undefined) {
      const path = `${openAppPath}?visit=${encodeURIComponent(token)}`
      return show(reply, 200, waitingPage({ person, request: waiting, path, atMs }))
    }
    return show(
      reply,
      complaint?.status ?? 403,
      askPage({
        ...{ person, visitToken: token, wanted: visit.level, atMs },
        ...{ why: way.why, lastEnd: way.lastEnd, refusal: way.refusal },
        ...(complaint === undefined ? {} : { complaint: complaint.words }),
        ...(given === undefined ? {} : { given }),
      }),
    )
  }
}

/** The newest that would be enough; else the newest at all, so that nobody asks twice for what they chose. */
function pendingOf({ pending }: Why, wanted: Level): AccessRequest | undefined {
  const fits = pending.filter(({ kind }) => kind === 'access')
  const rank = (one: Level): number => level.options.indexOf(one)
  return fits.find((one) => rank(one.level) >= rank(wanted)) ?? fits[0]
}
