/** Control's API over HTTPS, out of the routes table: what a test does not answer is a 500, what it answers wrongly too. */
import { randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { join } from 'node:path'
import type { Authority } from '../../certs/authority.ts'
import { issuePersonCertificate } from '../../certs/issue-person.ts'
import { issueServerCertificate } from '../../certs/issue-server.ts'
import { createKeyAndRequest } from '../../certs/request.ts'
import { verifyClientCertificate } from '../../certs/verify.ts'
import { statusOfCode } from '../../control/api/problem.ts'
import { routes, type Answer, type Route, type RouteName } from '../../control/api/routes.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { SallyportError, toSallyportError } from '../../protocols/kit/errors.ts'
import { newAuthority } from '../unit/certs/world.ts'

export interface FakeCall {
  params: Record<string, string>
  query: Record<string, unknown>
  body: unknown
  /** E-mail address of the caller's certificate; undefined without one. */
  caller: string | undefined
}
export type FakeHandlers = {
  [N in RouteName]?: (call: FakeCall) => Answer<N> | Promise<Answer<N>>
}

export interface FakeApi {
  readonly url: string
  readonly people: Authority
  readonly proxies: Authority
  readonly control: Authority
  /** Every call that arrived, in order. */
  readonly calls: (FakeCall & { name: RouteName })[]
  handlers: FakeHandlers
  close(): Promise<void>
}

export async function startFakeApi(handlers: FakeHandlers): Promise<FakeApi> {
  const clock = systemClock
  const [people, proxies, control] = await Promise.all([
    newAuthority('people', clock),
    newAuthority('proxies', clock),
    newAuthority('control', clock),
  ])
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const { certificatePem } = await issueServerCertificate(control, {
    requestPem,
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    validForMs: 3_600_000,
    clock,
  })
  const calls: FakeApi['calls'] = []
  const server = createServer(
    {
      key: privateKeyPem,
      cert: certificatePem,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
    },
    (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const socket = request.socket as TLSSocket
        answer(request.method ?? '', request.url ?? '', Buffer.concat(chunks), socket)
          .then(({ status, body }) => {
            response.writeHead(status, { 'content-type': 'application/json' })
            response.end(JSON.stringify(body))
          })
          .catch(() => response.destroy())
      })
    },
  )
  const answer = async (method: string, url: string, bytes: Buffer, socket: TLSSocket) => {
    try {
      const { pathname, searchParams } = new URL(url, 'https://localhost')
      const found = findRoute(method, pathname)
      if (found === undefined) throw new SallyportError('not-found', `${method} ${pathname}`)
      const { name, params } = found
      const route: Route = routes[name]
      const caller = callerOf(socket, people)
      if (caller === undefined && route.access !== 'anyone') {
        const clientMessage = 'control needs a certificate to know who you are'
        throw new SallyportError('evidence-missing', clientMessage, { clientMessage })
      }
      const call: FakeCall = {
        params,
        caller,
        query: (route.query?.parse(Object.fromEntries(searchParams)) ?? {}) as FakeCall['query'],
        body: route.body?.parse(JSON.parse(bytes.toString('utf8'))),
      }
      calls.push({ name, ...call })
      const handler = api.handlers[name]
      if (handler === undefined) throw new Error(`the test does not answer ${name}`)
      return { status: 200, body: route.response.parse(await handler(call)) }
    } catch (error) {
      const { code, message, clientMessage, hint } = toSallyportError(error)
      const status = statusOfCode[code] ?? 500
      const detail = code === 'internal' ? message : clientMessage
      const issues = error instanceof SallyportError && 'issues' in error ? error.issues : undefined
      return {
        status,
        body: { type: 'about:blank', title: code, status, code, detail, hint, issues },
      }
    }
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const api: FakeApi = {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    people,
    proxies,
    control,
    calls,
    handlers,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return api
}

/** Signs somebody in: the home that `SALLY_HOME` names. */
export async function makeHome(
  api: FakeApi,
  directory: string,
  options: {
    email?: string
    validForMs?: number
    proxyPort?: number
    sshPort?: number
    httpPort?: number
    proxyHost?: string
  } = {},
): Promise<string> {
  const email = options.email ?? 'dev@example.test'
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const { certificatePem } = await issuePersonCertificate(api.people, {
    requestPem,
    realm: 'default',
    personId: randomUUID(),
    email,
    validForMs: options.validForMs ?? 8 * 3_600_000,
    clock: systemClock,
  })
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const write = (name: string, text: string): void =>
    writeFileSync(join(directory, name), text, { mode: 0o600 })
  write('key.pem', privateKeyPem)
  write('cert.pem', certificatePem)
  write('ca.pem', api.proxies.certificatePem)
  write('control-ca.pem', api.control.certificatePem)
  const config = {
    controlUrl: api.url,
    realm: 'default',
    email,
    domain: 'access.localhost',
    proxyHost: options.proxyHost ?? '127.0.0.1',
    proxyPorts: {
      postgres: options.proxyPort ?? 6432,
      ...(options.sshPort === undefined ? {} : { ssh: options.sshPort }),
      ...(options.httpPort === undefined ? {} : { http: options.httpPort }),
    },
  }
  write('config.json', JSON.stringify(config))
  return directory
}

function findRoute(method: string, path: string) {
  for (const name of Object.keys(routes) as RouteName[]) {
    const route: Route = routes[name]
    if (route.method !== method) continue
    const pattern = route.path.replace(/\{(\w+)\}/g, '(?<$1>[^/]+)')
    const match = new RegExp(`^${pattern}$`).exec(path)
    if (match === null) continue
    const params = Object.entries(match.groups ?? {})
    return {
      name,
      params: Object.fromEntries(params.map(([key, value]) => [key, decodeURIComponent(value)])),
    }
  }
  return undefined
}

function callerOf(socket: TLSSocket, people: Authority): string | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  return verifyClientCertificate(certificate.raw, {
    authoritiesPem: [people.certificatePem],
    kind: 'person',
    atMs: systemClock.wallMs(),
  }).email
}
