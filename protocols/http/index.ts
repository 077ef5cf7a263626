/**
 * HTTP/1.1 and HTTP/2 (RFC 9110, 9112, 9113): host names of one domain, many sessions on a connection and one session over many
 * connections. One connection, from first byte to last:
 *
 *     client                          proxy                                     app
 *     GET / without TLS           →   400, or https for a browser's page
 *     ClientHello, SNI, ALPN      ⇄   TLS ≥ 1.2, client certificate asked for
 *     request                     →   strictly read; authority = SNI, or 421
 *     /.sallyport/…               ⇄   sign-in, sign-out, warnings: never the app
 *                                     evidence: our header, token, cookie, certificate
 *                                     gate.lease → Session, kept for the connection;
 *                                       or a browser to the console, 401, 403
 *                                     rules → level, or 403; limits, or 429
 *                                     record, then                         →    request, our identity, credential
 *     body                        →   forward                              →    body
 *     answer                      ←   less hop-by-hop, foreign cookies     ←    answer
 *                                     outcome
 *     403 | end | RST_STREAM | 1008   ←   cut
 */
import type { ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Engine, Gate, Host } from '../engine.ts'
import { toSallyportError } from '../kit/errors.ts'
import { greet, type Greeted } from './downstream.ts'
import { rawRefusal } from './downstream/answer.ts'
import { ClientConnection } from './downstream/client-connection.ts'
import { handleRequest } from './downstream/requests.ts'
import { watchConnection } from './downstream/watch-connection.ts'
import type { Exchange } from './wire.ts'
import { serveHttp1, type OpenWebSocket } from './wire/http1.ts'
import { serveHttp2 } from './wire/http2.ts'
import { linger } from './wire/linger.ts'
import { requireAnswer } from './wire/require-answer.ts'
import { HttpRefusal } from './wire/refusal.ts'

export const http: Engine = {
  name: 'http',
  defaultPort: 443,

  async serve(connection, gate, host) {
    connection.setNoDelay(true)
    connection.on('error', () => {})
    let greeted: Greeted | undefined
    try {
      greeted = await greet(connection, host)
    } catch (error) {
      const { code, message } = toSallyportError(error)
      host.refused(code)
      const { remoteAddress } = connection
      host.log.info({ code, why: message, remoteAddress }, 'connection refused')
    }
    if (greeted === undefined || greeted.socket.destroyed) {
      host.handshakeDone(connection)
      connection.destroy()
    } else {
      host.handshakeWaits(connection)
      await serveRequests(connection, greeted, gate, host)
    }
  },
}

async function serveRequests(
  connection: Socket,
  greeted: Greeted,
  gate: Gate,
  host: Host,
): Promise<void> {
  const { socket } = greeted
  const served = new ClientConnection(connection, greeted, gate, host)
  const over = new Promise<void>((resolve) => {
    socket.once('close', () => resolve())
  })
  /** Of what never became a request. */
  const refuse = (refusal: HttpRefusal): void => {
    const { code, message: why } = refusal
    host.refused(code)
    host.log.info({ code, why, remoteAddress: served.remoteAddress }, 'connection refused')
    linger(socket, host, rawRefusal(refusal))
  }
  let http2: ServerHttp2Session | undefined
  const watch = watchConnection(host, {
    // Frames of HTTP/2 come without any request too; half a head has the time of a connection without one.
    bytesRead: () => (greeted.version === '2' ? 0 : socket.bytesRead),
    isAdmitted: () => served.isAdmitted,
    end(isPartial) {
      const late = new HttpRefusal(408, 'handshake-timeout', 'the request took too long')
      if (isPartial && greeted.version !== '2') refuse(late)
      else socket.destroy()
    },
    stalled({ method }, { code, message }) {
      const { remoteAddress } = served
      host.log.info({ code, why: message, remoteAddress, method }, 'an answer was given up')
      if (http2 !== undefined) requireAnswer(http2, host.clock, host.limits.sendMs)
    },
  })
  if (greeted.version === '2') {
    http2 = serveHttp2(socket, host.limits, (exchange) => {
      watch.begin(exchange)
      handleRequest(exchange, served)
    })
  } else {
    const queue = new RequestQueue(socket, served)
    // What Node closes with after an answer that is the last.
    socket.destroySoon = () => linger(socket, host)
    serveHttp1(socket, {
      request(exchange) {
        watch.begin(exchange)
        queue.add(exchange)
      },
      webSocket(exchange, open) {
        watch.begin(exchange)
        queue.add(exchange, open)
      },
      broken: refuse,
    })
  }
  await over
  watch.stop()
  served.end()
}

/** One after the other: what a client sent in a row is not to overtake itself (RFC 9112, 9.3.2). */
class RequestQueue {
  readonly #socket: TLSSocket
  readonly #connection: ClientConnection
  readonly #waiting: { exchange: Exchange; open: OpenWebSocket | undefined }[] = []
  #isBusy = false

  constructor(socket: TLSSocket, connection: ClientConnection) {
    this.#socket = socket
    this.#connection = connection
  }

  add(exchange: Exchange, open?: OpenWebSocket): void {
    this.#waiting.push({ exchange, open })
    if (!this.#isBusy) this.#next()
  }

  #next(): void {
    const next = this.#waiting.shift()
    this.#isBusy = next !== undefined
    if (next === undefined) return
    const { exchange } = next
    exchange.onClose(() => {
      // What follows a request that was refused, or said to be the last, may be part of it: it was read, and is forgotten.
      if (exchange.isLast) this.#isBusy = true
      else this.#next()
    })
    if (this.#socket.destroyed) return
    handleRequest(exchange, this.#connection, next.open)
  }
}
