/** Control's API: HTTPS (TLS 1.3), the routes, and the upgrade to the feed. */
import { constants } from 'node:crypto'
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { fastify, type FastifyInstance, type FastifyReply } from 'fastify'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { openApiDocument } from './open-api-document.ts'
import { createFeedUpgrade, type FeedUpgradeOptions } from './feed-upgrade.ts'
import { problemOf } from './problem-of.ts'
import { registerRoutes, secure, type RouteOptions } from './register-routes.ts'
import type { ServerCertificate } from './server-certificate.ts'

export interface ApiServerOptions extends RouteOptions, FeedUpgradeOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly certificate: ServerCertificate
  readonly version: string
  /** What else is served, beside the API. */
  readonly registerMore: (server: FastifyInstance) => void
}

export interface ApiServer {
  readonly port: number
  use(certificate: ServerCertificate): void
  /** Takes nothing new, finishes what is at hand for up to `drainMs`, then ends the rest. */
  close(drainMs: number): Promise<void>
}

const tlsOptions = {
  minVersion: 'TLSv1.3',
  requestCert: true,
  // Verified by us, per route: some are for anyone, and a wrong certificate deserves an answer.
  rejectUnauthorized: false,
  // A resumed session would bring no certificate.
  secureOptions: constants.SSL_OP_NO_TICKET,
  handshakeTimeout: 10_000,
} as const

export async function openApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { control, certificate } = options
  const app = fastify({
    https: { ...tlsOptions, ...certificate },
    logger: false,
    bodyLimit: 1024 * 1024,
    requestTimeout: 120_000,
    connectionTimeout: 0,
    keepAliveTimeout: 60_000,
    routerOptions: { maxParamLength: 300 },
    forceCloseConnections: 'idle',
    // Addresses that cannot be read reach no hook and no route.
    frameworkErrors: (error, _request, reply) => refuseAddress(error, reply as FastifyReply),
  })
  registerRoutes(app, options)
  options.registerMore(app)
  const document = JSON.stringify(openApiDocument(options.version))
  app.get('/openapi.json', (_request, reply) => reply.type('application/json').send(document))

  const server: Server = app.server
  server.maxConnections = 10_000
  server.headersTimeout = 15_000
  server.on('upgrade', createFeedUpgrade(options))
  server.on('tlsClientError', (error: Error) => {
    control.log.debug({ error: error.message }, 'a TLS handshake failed')
  })
  try {
    await app.listen({ host: options.host, port: options.port })
  } catch (error) {
    const where = `${options.host}:${options.port}`
    throw new SallyportError('config-invalid', `cannot listen on ${where}: ${String(error)}`, {
      clientMessage: `cannot listen on ${where}: ${(error as Error).message}`,
      hint: 'choose another address with --listen',
      cause: error,
    })
  }
  return {
    port: (server.address() as AddressInfo).port,
    use: (next) => server.setSecureContext({ ...tlsOptions, ...next }),
    async close(drainMs) {
      const timer = control.clock.startTimer(drainMs, () => server.closeAllConnections())
      await app.close()
      timer.cancel()
    },
  }
}

function refuseAddress(error: Error, reply: FastifyReply): void {
  secure(reply)
  const problem = problemOf(error)
  void reply.status(problem.status).type('application/problem+json').send(problem)
}
