/**
 * The app's side: connections of one session, the resource's credential on each request (or each connection), HTTP/1.1 by undici's
 * dispatcher, HTTP/2 by Node's own client, and the opening of WebSockets.
 *
 *     send     forwardCall → send → borrow → dispatch → informational… head data… end
 *     upgrade  forwardCall → upgrade → borrow → dispatch → switched (or an answer that refuses)
 */
import type { Host } from '../engine.ts'
import type { Session } from '../session.ts'
import type { App, AppRequest } from './upstream/app.ts'
import { createConnectApp } from './upstream/connect.ts'
import { credentialField, isShownPerRequest } from './upstream/credential.ts'
import { createHttp1, type Outgoing } from './upstream/http1.ts'
import { createHttp2 } from './upstream/http2.ts'
import { fieldsForApp } from './upstream/raw-headers.ts'
import { openWebSocket } from './upstream/web-socket-opening.ts'

/** The app of a session that has `http`. Opens no connection before the first request. */
export function openApp(session: Session, host: Host): App {
  const { upstream, http } = session
  if (http === undefined) throw new Error('a session of another protocol')
  const { limits, recorded, credential, version } = http
  const isAnswerRecorded = recorded.responseBodyBytes > 0
  const scheme = upstream.tls === 'disable' ? 'http' : 'https'
  const connect = createConnectApp(session, host)
  const http1 = createHttp1({
    ...{ connect, answerMs: limits.answerMs, connectionsMax: limits.requestsMax },
  })
  const http2 =
    version === '2'
      ? createHttp2({ connect, scheme, clock: host.clock, answerMs: limits.answerMs })
      : undefined

  const outgoing = (request: AppRequest): Promise<Outgoing> | Outgoing => {
    const made = (field: Awaited<ReturnType<typeof credentialField>>): Outgoing => ({
      method: request.method,
      target: request.target,
      host: http.host === 'client' ? request.authority : ownAuthority(session, scheme),
      fields: fieldsForApp(request, field, isAnswerRecorded),
      body: request.body,
    })
    if (!isShownPerRequest(credential)) return made(undefined)
    return credentialField(session).then((field) => {
      // A cut while the secret was on its way: nothing goes to the app any more.
      session.signal.throwIfAborted()
      return made(field)
    })
  }

  const close = (): void => {
    http1.close()
    http2?.close()
  }
  // However long clients take to hear of it, nothing is left of the way to the app.
  session.signal.addEventListener('abort', close, { once: true })

  return {
    send(request, answer) {
      const hasBody = request.body !== undefined && request.body !== 0
      return (http2 ?? http1).begin(outgoing(request), hasBody, answer)
    },
    // Also for an app of HTTP/2: few of them take WebSockets that way (RFC 8441), and all take them this way.
    upgrade(request, answer) {
      const opening = openWebSocket(request, answer, recorded.webSocketText)
      return http1.beginUpgrade(outgoing(opening.request), opening.answer)
    },
    [Symbol.dispose]: close,
  }
}

/** What the app is called by its resource, as in a URL. */
function ownAuthority({ upstream }: Session, scheme: 'http' | 'https'): string {
  const { serverName, port } = upstream
  const name = serverName.includes(':') ? `[${serverName}]` : serverName
  return port === (scheme === 'http' ? 80 : 443) ? name : `${name}:${port}`
}
