/** The HTTP engine with a fake gate before a real Node server, and clients that say what they want. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { http } from '../../protocols/http/index.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { HttpTerms } from '../../protocols/session.ts'
import { startEngineServer, type EngineServer } from './engine-server.ts'
import { createFakeGate, type FakeGate, type FakeGateOptions } from './gate.ts'
import { httpTerms } from './http-app.ts'
import { copyCertificates, type TestCertificates } from './tls.ts'

export const domain = 'access.localhost'
/** Of the form of an API token. */
export const apiToken = `spa_${'t'.repeat(32)}`

/** What reached the app. */
export interface Reached {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly raw: readonly string[]
  body: string
  /** Its body arrived whole. */
  complete: boolean
}

export interface HttpSite {
  readonly gate: FakeGate
  readonly server: EngineServer
  readonly certificates: TestCertificates
  readonly reached: Reached[]
  readonly app: Server
  /** What the app does; echo unless replaced. */
  answer: (request: IncomingMessage, response: ServerResponse, reached: Reached) => void
  /** A TLS connection, by server name; `alpn` as offered. */
  connect(serverName?: string, alpn?: readonly string[]): Promise<TLSSocket>
  /** Sends bytes as they are, and gives everything that comes back until the other side ends, or `quietMs` of silence after an answer. */
  raw(bytes: string | Buffer, options?: { serverName?: string; quietMs?: number }): Promise<string>
  /** One request on a connection of its own. */
  ask(request: Asking): Promise<Told>
  close(): Promise<void>
}

export interface Asking {
  readonly method?: string
  readonly path?: string
  readonly app?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  /** Undefined: an API token. Null: nothing. */
  readonly token?: string | null
}

export interface Told {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly cookies: readonly string[]
  readonly text: string
}

/** Whatever is said of the request, as JSON. */
function echo(_request: IncomingMessage, response: ServerResponse, reached: Reached): void {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(reached))
}

export async function startHttpSite(
  options: {
    terms?: Partial<HttpTerms>
    limits?: Partial<Limits>
    gate?: Partial<FakeGateOptions>
    certificates?: TestCertificates
  } = {},
): Promise<HttpSite> {
  const certificates = options.certificates ?? (await copyCertificates(domain))
  const reached: Reached[] = []
  const app = createServer({ insecureHTTPParser: true }, (request, response) => {
    const { method = '', url = '', headers, rawHeaders: raw } = request
    const one: Reached = { method, url, headers, raw, body: '', complete: false }
    reached.push(one)
    let isAnswered = false
    const whole = (): void => {
      one.complete = request.complete
      if (!isAnswered) site.answer(request, response, one)
      isAnswered = true
    }
    if (site.answer !== echo) {
      isAnswered = true
      site.answer(request, response, one)
    }
    request.on('data', (chunk: Buffer) => (one.body += chunk.toString('latin1')))
    request.on('end', whole)
    request.on('error', () => {})
    response.on('error', () => {})
  })
  await new Promise<void>((resolve) => {
    app.listen(0, '127.0.0.1', resolve)
  })
  const { port } = app.address() as AddressInfo
  const gate = createFakeGate({
    upstream: { host: '127.0.0.1', port, serverName: '127.0.0.1', tls: 'disable' },
    ...{ account: 'the-account', secret: 'the-credential', http: httpTerms(options.terms) },
    ...options.gate,
  })
  const server = await startEngineServer({
    ...{ engine: http, gate, certificates, domain },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  })
  const site: HttpSite = {
    ...{ gate, server, certificates, reached, app, answer: echo },
    connect(serverName = `wiki.${domain}`, alpn = ['http/1.1']) {
      return new Promise((resolve, reject) => {
        const socket: TLSSocket = connectTls(
          {
            ...{ port: server.port, host: '127.0.0.1', ca: certificates.caPem },
            ...{ servername: serverName, ALPNProtocols: [...alpn] },
            checkServerIdentity: () => undefined,
          },
          () => resolve(socket),
        )
        socket.on('error', reject)
      })
    },
    async raw(bytes, { serverName, quietMs = 300 } = {}) {
      const socket = await site.connect(serverName)
      return new Promise((resolve) => {
        let answer = ''
        let timer: NodeJS.Timeout | undefined
        const done = (): void => {
          clearTimeout(timer)
          socket.destroy()
          resolve(answer)
        }
        socket.on('data', (chunk: Buffer) => {
          answer += chunk.toString('latin1')
          clearTimeout(timer)
          timer = setTimeout(done, quietMs)
        })
        socket.on('close', done)
        socket.on('error', () => {})
        socket.write(bytes)
      })
    },
    async ask({ method = 'GET', path = '/', app: name = 'wiki', headers = {}, body, token }) {
      const fields: Record<string, string> = {
        ...{ Host: `${name}.${domain}:${server.port}`, Connection: 'close' },
        ...(token === null ? {} : { Authorization: `Bearer ${token ?? apiToken}` }),
        ...(body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }),
        ...headers,
      }
      const head = Object.entries(fields).map(([key, value]) => `${key}: ${value}\r\n`)
      const start = Buffer.from(`${method} ${path} HTTP/1.1\r\n${head.join('')}\r\n`)
      const bytes = Buffer.concat([start, Buffer.from(body ?? '')])
      return readTold(await site.raw(bytes, { serverName: `${name}.${domain}`, quietMs: 20_000 }))
    },
    async close() {
      await server.close()
      app.closeAllConnections()
      await new Promise((resolve) => app.close(resolve))
      if (options.certificates === undefined) certificates.remove()
    },
  }
  return site
}

/** An answer as it was on the wire; chunks put together. */
export function readTold(answer: string): Told {
  const end = answer.indexOf('\r\n\r\n')
  const [line = '', ...lines] = answer.slice(0, end).split('\r\n')
  const headers = new Map<string, string>()
  const cookies: string[] = []
  for (const each of lines) {
    const colon = each.indexOf(':')
    const name = each.slice(0, colon).toLowerCase()
    headers.set(name, each.slice(colon + 1).trim())
    if (name === 'set-cookie') cookies.push(each.slice(colon + 1).trim())
  }
  const body = answer.slice(end + 4)
  const text = headers.get('transfer-encoding') === 'chunked' ? unchunk(body) : body
  return { status: Number(line.split(' ')[1]), headers, cookies, text }
}

function unchunk(body: string): string {
  let text = ''
  let rest = body
  for (;;) {
    const end = rest.indexOf('\r\n')
    const length = Number.parseInt(rest.slice(0, end), 16)
    if (!(length > 0)) return text
    text += rest.slice(end + 2, end + 2 + length)
    rest = rest.slice(end + 2 + length + 2)
  }
}
