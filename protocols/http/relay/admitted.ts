/** A request that the gate let in: how it is recorded, and what its app is asked. */
import type { Host } from '../../engine.ts'
import type { SallyportError } from '../../kit/errors.ts'
import type { ActivityId, HttpTerms, Session } from '../../session.ts'
import type { Asked } from '../downstream/check.ts'
import type { HeldLease } from '../downstream/held-lease.ts'
import { RequestSource } from '../observe.ts'
import { openApp } from '../upstream.ts'
import type { App, AppRequest } from '../upstream/app.ts'
import type { Exchange } from '../wire.ts'
import { requestHeaders } from './request-headers.ts'

const appKey = Symbol('app of a session')

/** A request that the gate let in, and where it came from. */
export interface Admitted {
  readonly exchange: Exchange
  readonly asked: Asked
  readonly held: HeldLease
  readonly host: Host
  readonly remoteAddress: string
  /** `Authorization` was evidence. */
  readonly usesAuthorization: boolean
}

/** The app of a session; its first request makes it. */
export function appOf(session: Session, host: Host): App {
  return session.keep(appKey, () => openApp(session, host))
}

/** What the app is asked: the client's request, as it was audited. */
export function appRequestOf(
  { exchange, asked, held, remoteAddress, usesAuthorization }: Admitted,
  terms: HttpTerms,
): AppRequest {
  return {
    method: exchange.method,
    target: exchange.target,
    authority: asked.authority,
    headers: requestHeaders(exchange.headers, {
      assertion: held.session.assertion(),
      remoteAddress,
      authority: asked.authority,
      port: asked.port,
      withoutAuthorization: usesAuthorization || setsAuthorization(terms),
      mayTrail: terms.version === '2',
    }),
    body: exchange.body,
  }
}

/** What went wrong between the proxy and an app is for its operator too. */
export function logFailure({ held, host }: Admitted, { code, message }: SallyportError): void {
  const { sessionId, grantId, resource } = held.session.labels
  const fields = { sessionId, grantId, resource, code, why: message }
  host.log.warn(fields, 'a request failed at its app')
}

/** The record of a request; one too long for a record goes into a blob, whole. */
export function reportRequest(
  { exchange, held }: Admitted,
  terms: HttpTerms,
  { limits }: Host,
): ActivityId {
  const { session } = held
  const source = new RequestSource({
    method: exchange.method,
    target: exchange.target,
    upstream: session.upstream,
    redactedParameters: terms.redactedParameters,
  })
  if (source.target.length > limits.inlineTextBytesMax) {
    const blob = session.spill()
    blob.write(Buffer.from(source.text))
    source.spilled(blob.finish(), limits.inlineTextBytesMax)
  }
  return session.report(source)
}

function setsAuthorization({ credential }: HttpTerms): boolean {
  const { kind } = credential
  return kind === 'bearer' || kind === 'basic' || kind === 'oauth'
}
