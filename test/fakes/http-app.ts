/** What asks an app of a session, for tests of the app's side of HTTP. */
import type { Host } from '../../protocols/engine.ts'
import type { App, AppRequest, RawHeaders } from '../../protocols/http/upstream/app.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import { defaultLimits } from '../../protocols/kit/limits.ts'
import { openApp } from '../../protocols/http/upstream.ts'
import type { HttpTerms, Session, Upstream } from '../../protocols/session.ts'
import { createFakeGate, type FakeSession } from './gate.ts'

export function httpTerms(more: Partial<HttpTerms> = {}): HttpTerms {
  return {
    ...{ version: '1.1', host: 'client', credential: { kind: 'none' }, rules: [] },
    redactedParameters: [],
    recorded: { requestBodyBytes: 0, responseBodyBytes: 0, webSocketText: false },
    limits: {
      ...{ headerBytesMax: 32_768, bodyBytesMax: 0, answerMs: 20_000 },
      ...{ requestsMax: 250, perMinuteMax: 0 },
    },
    ...more,
  }
}

export const testHost: Host = {
  tlsContext: () => undefined,
  hostKeys: () => Promise.resolve(undefined),
  domain: 'access.localhost',
  clock: systemClock,
  limits: defaultLimits,
  log: { debug() {}, info() {}, warn() {}, error() {} },
  refused() {},
  handshakeWaits() {},
  handshakeDone() {},
}

export function pathRequest(target: string): AppRequest {
  const authority = 'wiki.access.localhost'
  return { method: 'GET', target, authority, headers: [], body: undefined }
}

export interface Answered {
  readonly status: number
  readonly headers: RawHeaders
  readonly body: Buffer
  readonly trailers: RawHeaders
  readonly informational: readonly (readonly [number, RawHeaders])[]
}

/** One exchange as a relay makes it. Rejects with what failed. */
export function ask(
  app: App,
  session: Session,
  request: AppRequest,
  body: readonly string[] = [],
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const informational: (readonly [number, RawHeaders])[] = []
    let status = 0
    let headers: RawHeaders = []
    session.forwardCall(() => {
      const call = app.send(request, {
        informational: (code, fields) => void informational.push([code, fields]),
        head(code, _text, fields) {
          status = code
          headers = fields
        },
        data(chunk) {
          parts.push(chunk)
          return true
        },
        end: (trailers) =>
          resolve({ status, headers, body: Buffer.concat(parts), trailers, informational }),
        failed: (error: SallyportError) => reject(error),
      })
      for (const part of body) session.forward(call.body, Buffer.from(part))
      session.forwardCall(() => call.body.end())
    })
  })
}

/** An app without TLS on this port, and the session that it is of. */
export async function openTestApp(
  port: number,
  terms: Partial<HttpTerms> = {},
  upstream: Partial<Upstream> = {},
  secret = 's3cret',
): Promise<{ app: App; session: FakeSession }> {
  const gate = createFakeGate({
    upstream: {
      ...{ host: '127.0.0.1', port, serverName: 'resource.internal', tls: 'disable' },
      ...upstream,
    },
    ...{ account: 'robot', secret, http: httpTerms(terms) },
  })
  const session = (await gate.admit({
    evidence: { kind: 'client-certificate', certificate: Buffer.alloc(0) },
    ...{ protocol: 'http', resource: 'wiki', wanted: '' },
    ...{ remoteAddress: '127.0.0.1', remotePort: 1, attributes: {} },
  })) as FakeSession
  return { app: openApp(session, testHost), session }
}
