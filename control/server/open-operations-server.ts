/** The loopback port of the operator: `/healthz`, `/readyz`, `/metrics`. */
import { createServer, type ServerResponse } from 'node:http'
import { isIPv4, type AddressInfo } from 'node:net'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ControlLog } from '../control.ts'
import type { ControlMetrics } from './metrics.ts'
import type { Checks } from './readiness.ts'

export interface OperationsServerOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly readChecks: () => Promise<Checks>
  readonly metrics: ControlMetrics
  readonly log: ControlLog
}

export interface OperationsServer {
  readonly port: number
  close(): Promise<void>
}

/** Rejects with `config-invalid` for an address that is not this machine's alone, or is taken. */
export async function openOperationsServer(
  options: OperationsServerOptions,
): Promise<OperationsServer> {
  const { host, port, log } = options
  const isLoopback =
    host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
  if (!isLoopback) throw wrong(`--metrics-listen must be a loopback address, not ${host}`)
  const server = createServer(
    { requestTimeout: 5_000, headersTimeout: 5_000 },
    (request, response) => {
      const path = request.method === 'GET' ? request.url : undefined
      answer(path, response, options).catch((error: unknown) => {
        log.error({ error: String(error) }, 'the operations port failed')
        send(response, 500, 'text/plain', 'failed; see the log\n')
      })
    },
  )
  server.maxConnections = 64
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(wrong(`cannot listen on ${host}:${port}: ${error.message}`)),
    )
    server.listen(port, host, resolve)
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

async function answer(
  path: string | undefined,
  response: ServerResponse,
  { readChecks, metrics }: OperationsServerOptions,
): Promise<void> {
  if (path === '/metrics') {
    send(response, 200, metrics.registry.contentType, await metrics.registry.metrics())
  } else if (path === '/healthz') {
    send(response, 200, 'application/json', '{"ok":true,"checks":{}}\n')
  } else if (path === '/readyz') {
    const checks = await readChecks()
    const ok = Object.values(checks).every((check) => check.ok)
    send(response, ok ? 200 : 503, 'application/json', `${JSON.stringify({ ok, checks })}\n`)
  } else {
    send(response, 404, 'text/plain', 'there are /healthz, /readyz and /metrics\n')
  }
}

function send(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' })
  response.end(body)
}

function wrong(message: string): SallyportError {
  return new SallyportError('config-invalid', message, {
    clientMessage: message,
    hint: 'choose another with --metrics-listen 127.0.0.1:PORT',
  })
}
