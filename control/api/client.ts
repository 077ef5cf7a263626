/** The typed client of the API, derived from the routes. Used by `sally` and by proxies. */
import { Agent, request } from 'node:https'
import { errorCodes, SallyportError, type ErrorCode } from '../../protocols/kit/errors.ts'
import { collectAnswer } from './collect-answer.ts'
import { InvalidInput, problem } from './problem.ts'
import { routes, type Answer, type Call, type Route, type RouteName } from './routes.ts'

export interface ApiClientOptions {
  /** For example `https://control.example.com:8443`. */
  readonly baseUrl: string
  /** PEM of the authority that control's certificate must come from; nothing else is trusted. */
  readonly authorityPem: string
  /** PEM of the caller's client certificate and key; absent only where a route takes `anyone`. */
  readonly certificatePem?: string
  readonly privateKeyPem?: string
  /** From sending a request to the end of its answer. Default 30 s. */
  readonly timeoutMs?: number
  /** Connections at a time; what is more waits. Default 8. */
  readonly socketsMax?: number
  /** Answers longer than this are refused. Default 256 MiB. */
  readonly answerBytesMax?: number
}

export interface ApiClient {
  /** Rejects with the SallyportError that control named, or `control-unreachable`. */
  call<N extends RouteName>(name: N, call?: Call<N>): Promise<Answer<N>>
  close(): void
}

export function createApiClient(options: ApiClientOptions): ApiClient {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: options.socketsMax ?? 8,
    ca: options.authorityPem,
    // Said, because NODE_TLS_REJECT_UNAUTHORIZED=0 in somebody's environment would undo what is not said.
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    ...(options.certificatePem === undefined ? {} : { cert: options.certificatePem }),
    ...(options.privateKeyPem === undefined ? {} : { key: options.privateKeyPem }),
  })
  return {
    async call(name, call = {}) {
      const route: Route = routes[name]
      const { status, body } = await exchange(options, agent, route, call)
      if (status >= 200 && status < 300) {
        return route.response.parse(parseJson(body)) as Answer<typeof name>
      }
      throw refusal(route, status, body)
    },
    close: () => agent.destroy(),
  }
}

interface Exchange {
  status: number
  body: Buffer
}

async function exchange(
  options: ApiClientOptions,
  agent: Agent,
  route: Route,
  call: Call<RouteName>,
): Promise<Exchange> {
  const url = new URL(fillPath(route.path, call.params), options.baseUrl)
  for (const [key, value] of Object.entries(call.query ?? {})) {
    if (value === undefined) continue
    url.searchParams.set(key, typeof value === 'string' ? value : JSON.stringify(value))
  }
  const body =
    call.binaryBody ??
    (call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body)))
  const answerBytesMax = options.answerBytesMax ?? 256 * 1024 * 1024
  const outgoing = request(url, {
    agent,
    method: route.method,
    timeout: options.timeoutMs ?? 30_000,
    headers: {
      ...(body === undefined
        ? {}
        : {
            'content-type': route.binaryBody?.contentType ?? 'application/json',
            'content-length': body.length,
          }),
      ...call.headers,
    },
  })
  outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
  const answer = collectAnswer(outgoing, answerBytesMax)
  outgoing.end(body)
  try {
    const { response, body: answered } = await answer
    return { status: response.statusCode ?? 0, body: answered }
  } catch (error) {
    const { message } = error as Error
    throw new SallyportError('control-unreachable', `control at ${url.origin}: ${message}`, {
      clientMessage: `control at ${url.origin} cannot be reached: ${message}`,
      hint: 'check that it runs and that this machine can reach it: sally doctor',
      cause: error,
    })
  }
}

function fillPath(path: string, params: unknown): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String((params as Record<string, unknown>)[name])),
  )
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw new SallyportError('control-unreachable', 'the answer is not JSON', { cause: error })
  }
}

function refusal(route: Route, status: number, body: Buffer): SallyportError {
  const parsed = problem.safeParse(body.length > 0 ? parseJson(body) : {})
  if (!parsed.success) {
    return new SallyportError('internal', `${route.method} ${route.path}: status ${status}`, {
      clientMessage: `control answered with status ${status}`,
    })
  }
  const { code, detail, hint, issues } = parsed.data
  if (issues !== undefined && (code === 'request-invalid' || code === 'config-invalid')) {
    return new InvalidInput(code, detail, issues)
  }
  const known: ErrorCode = errorCodes.includes(code) ? code : 'internal'
  return new SallyportError(known, detail, {
    clientMessage: detail,
    ...(hint === undefined ? {} : { hint }),
  })
}
