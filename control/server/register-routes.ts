/** Registers every route of the table: who may, what fits, what is answered. */
import { randomUUID } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { routes, type Route, type RouteName } from '../api/routes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import type { Control } from '../control.ts'
import { notAllowed, notFound } from '../refusals.ts'
import { actorOf } from './actor-of.ts'
import { authenticate } from './authenticate.ts'
import { createAuthenticateToken } from './authenticate-token.ts'
import type {
  AnyoneCaller,
  Handlers,
  PersonCaller,
  ProxyCaller,
  RequestContext,
} from './handlers.ts'
import { parseCall } from './parse-call.ts'
import { problemOf } from './problem-of.ts'

export interface RouteOptions {
  readonly control: Control
  readonly handlers: Handlers
  /** Also validates what handlers answer. For tests: it costs, and a caller cannot help it. */
  readonly validateAnswers: boolean
  readonly onAnswered: (route: string, status: number, durationMs: number) => void
}

type AnyCaller = AnyoneCaller | PersonCaller | ProxyCaller
interface Arrived {
  readonly id: string
  readonly startedAtMs: number
  route: string
  caller: AnyCaller
  identifiedAtMs: number
}

const jsonBytesMax = 1024 * 1024
/** From somebody who need not say who they are: two certificate requests and a name fit. */
const strangersBytesMax = 64 * 1024
/** Long bodies that are in memory at a time, and of one proxy: a slow or hostile one leaves room for others. */
const longBodiesMax = 12
const longBodiesOfOneMax = 4
const longBytes = 4 * jsonBytesMax
/** An answer that took longer than this goes only to whom it would still be given. */
const trustedMs = 1_000

export function registerRoutes(server: FastifyInstance, options: RouteOptions): void {
  const { control, handlers, validateAnswers, onAnswered } = options
  const { clock, log } = control
  const arrivals = new WeakMap<object, Arrived>()
  const authenticateToken = createAuthenticateToken(control)
  const longBodies = createLongBodies()

  const binaryTypes = new Set(
    Object.values<Route>(routes).flatMap((route) => route.binaryBody?.contentType ?? []),
  )
  // What a form of any page can send without being asked (CORS) is not read at all.
  server.removeContentTypeParser('text/plain')
  server.addContentTypeParser([...binaryTypes], { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  )

  server.addHook('onRequest', (request, reply, done) => {
    arrivals.set(request, {
      id: randomUUID(),
      startedAtMs: clock.monotonicMs(),
      route: request.routeOptions.config.page ?? 'none',
      caller: { kind: 'anyone' },
      identifiedAtMs: 0,
    })
    secure(reply)
    done()
  })
  server.addHook('onResponse', (request, reply, done) => {
    const arrived = arrivals.get(request)
    if (arrived !== undefined) {
      const durationMs = clock.monotonicMs() - arrived.startedAtMs
      onAnswered(arrived.route, reply.statusCode, durationMs)
      // No path and no query: they hold what people searched for.
      log.debug(
        {
          requestId: arrived.id,
          route: arrived.route,
          status: reply.statusCode,
          durationMs: Math.round(durationMs),
          caller: arrived.caller.kind === 'anyone' ? undefined : arrived.caller.id,
        },
        'answered',
      )
    }
    done()
  })
  const refuse = (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const problem = problemOf(thrown)
    const arrived = arrivals.get(request)
    const fields = { requestId: arrived?.id, route: arrived?.route, code: problem.code }
    if (problem.status >= 500) {
      const cause = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)
      log.error({ ...fields, cause }, 'a request failed')
    } else {
      const why = thrown instanceof SallyportError ? thrown.message : problem.detail
      log.info({ ...fields, why, remoteAddress: addressOf(request) }, 'a request was refused')
    }
    return reply.status(problem.status).type('application/problem+json').send(problem)
  }
  server.setErrorHandler(refuse)
  server.setNotFoundHandler((request, reply) => refuse(notFound('route'), request, reply))

  for (const [name, route] of Object.entries<Route>(routes)) {
    const routeName = name as RouteName
    const isLong = (route.binaryBody?.bytesMax ?? 0) > longBytes
    const shortBytesMax = route.access === 'anyone' ? strangersBytesMax : jsonBytesMax
    const identify = async (request: FastifyRequest): Promise<AnyCaller> => {
      const arrived = arrivals.get(request)!
      const identifiedAtMs = clock.monotonicMs()
      arrived.caller = await authenticate(
        control,
        {
          socket: tlsOf(request),
          authorization: request.headers.authorization,
          authenticateToken: (shown) => authenticateToken(shown, addressOf(request)),
        },
        route,
      )
      arrived.identifiedAtMs = identifiedAtMs
      return arrived.caller
    }
    server.route({
      method: route.method,
      url: route.path.replace(/\{(\w+)\}/g, ':$1'),
      bodyLimit: route.binaryBody?.bytesMax ?? shortBytesMax,
      // Before the body is read: strangers do not fill our memory.
      async onRequest(request) {
        arrivals.get(request)!.route = name
        refuseOtherSites(request)
        const caller = await identify(request)
        // One that hung up meanwhile closes no more, and would keep its place.
        if (isLong && !request.raw.destroyed) request.raw.once('close', longBodies.take(caller))
      },
      // And after it: a body can be sent so slowly that who sends it is revoked by then.
      async preHandler(request) {
        if (route.method !== 'GET') await identify(request)
      },
      async handler(request, reply) {
        const arrived = arrivals.get(request)!
        const context = contextOf(control, arrived, addressOf(request))
        const call = parseCall(route, request)
        const handler = handlers[routeName] as (
          context: RequestContext,
          call: unknown,
        ) => Promise<unknown>
        const answer = await handler(context, call)
        const tookMs = clock.monotonicMs() - arrived.identifiedAtMs
        if (route.method === 'GET' && tookMs > trustedMs) await identify(request)
        if (validateAnswers) route.response.parse(answer)
        if (routeName === 'readiness' && !(answer as { ok: boolean }).ok) void reply.status(503)
        return answer
      },
    })
  }
}

function contextOf(control: Control, arrived: Arrived, remoteAddress: string): RequestContext {
  const { caller } = arrived
  return {
    realm: control.realm,
    requestId: arrived.id,
    remoteAddress,
    caller: caller as RequestContext['caller'],
    audit: (action) =>
      control.state.transaction((sql) =>
        appendControlAction(
          sql,
          control.chain,
          caller.kind === 'person'
            ? actorOf({ caller, remoteAddress })
            : { id: caller.kind === 'proxy' ? caller.id : '', email: caller.kind, remoteAddress },
          action,
        ),
      ),
  }
}

function tlsOf(request: FastifyRequest): TLSSocket {
  const { socket } = request.raw
  if (!(socket instanceof TLSSocket)) throw new Error('a request that did not come over TLS')
  return socket
}

function addressOf(request: FastifyRequest): string {
  return request.raw.socket.remoteAddress ?? ''
}

export function secure(reply: FastifyReply): void {
  void reply.headers({
    'strict-transport-security': 'max-age=31536000',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  })
}

/** Browsers say which page asks (Fetch Metadata). No page of another site asks in the name of whom the browser has a certificate of. */
function refuseOtherSites(request: FastifyRequest): void {
  const site = request.headers['sec-fetch-site']
  if (site === undefined || site === 'same-origin' || site === 'none') return
  throw notAllowed('a page of another site asked for this', 'use sally')
}

interface LongBodies {
  /** Throws `rate-limited` if there are too many. Returns what ends it. */
  take(caller: AnyCaller): () => void
}

function createLongBodies(): LongBodies {
  let all = 0
  const ofOne = new Map<string, number>()
  return {
    take(caller) {
      const key = caller.kind === 'anyone' ? '' : caller.id
      const own = ofOne.get(key) ?? 0
      if (all >= longBodiesMax || own >= longBodiesOfOneMax) throw tooMany()
      all += 1
      ofOne.set(key, own + 1)
      return () => {
        all -= 1
        const left = ofOne.get(key)! - 1
        if (left > 0) ofOne.set(key, left)
        else ofOne.delete(key)
      }
    },
  }
}

function tooMany(): SallyportError {
  return new SallyportError('rate-limited', 'too many long bodies at a time', {
    clientMessage: 'control takes in too much at the moment',
    hint: 'try again in a second',
  })
}
