import { createServer } from 'node:http'
import { isIPv4, type AddressInfo } from 'node:net'
import type { Log } from '../../protocols/engine.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'

export interface Check {
  readonly ok: boolean
  readonly detail: string
}

export interface HealthServerOptions {
  /** A loopback address: what is told here is for this machine. */
  readonly host: string
  readonly port: number
  readonly isAlive: () => Readonly<Record<string, Check>>
  readonly isReady: () => Readonly<Record<string, Check>>
  readonly metrics: () => Promise<{ contentType: string; text: string }>
  readonly log: Log
}

export interface HealthServer {
  readonly port: number
  close(): Promise<void>
}

/** `/healthz`, `/readyz` (200 or 503, with the checks as JSON) and `/metrics`. Throws `config-invalid` off loopback. */
export async function openHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const { host, log } = options
  const isLoopback =
    host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
  if (!isLoopback) {
    const message = `metrics.host must be a loopback address, not ${host}`
    throw new SallyportError('config-invalid', message, { clientMessage: message })
  }
  const server = createServer(
    { requestTimeout: 5_000, headersTimeout: 5_000 },
    (request, response) => {
      const answer = (status: number, contentType: string, body: string): void => {
        response.writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' })
        response.end(request.method === 'HEAD' ? '' : body)
      }
      const checks = (each: Readonly<Record<string, Check>>): void => {
        const ok = Object.values(each).every((check) => check.ok)
        answer(ok ? 200 : 503, 'application/json', `${JSON.stringify({ ok, checks: each })}\n`)
      }
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        answer(405, 'text/plain', 'only GET\n')
      } else if (request.url === '/healthz') {
        checks(options.isAlive())
      } else if (request.url === '/readyz') {
        checks(options.isReady())
      } else if (request.url === '/metrics') {
        options.metrics().then(
          ({ contentType, text }) => answer(200, contentType, text),
          (error: unknown) => {
            log.error({ error: String(error) }, 'the metrics cannot be read')
            answer(500, 'text/plain', 'the metrics cannot be read; see the log\n')
          },
        )
      } else {
        answer(404, 'text/plain', 'there are /healthz, /readyz and /metrics\n')
      }
    },
  )
  server.maxConnections = 64
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, host, () => {
      server.off('error', reject)
      server.on('error', (error) => log.error({ error: error.message }, 'health server'))
      resolve()
    })
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
