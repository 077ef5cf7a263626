/** The way from an HTTP upgrade to a feed: mutual TLS as a proxy, or nothing. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { WebSocketServer } from 'ws'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { feedPath } from '../api/routes.ts'
import type { Control } from '../control.ts'
import type { Verdict } from '../feed/session-facts.ts'
import { serveFeedConnection, type FeedConnection } from '../feed/feed-connection.ts'
import type { FeedHub } from '../feed/feed-hub.ts'
import { keepProxyKey } from '../issue/proxy-keys.ts'
import { authenticateProxy } from './authenticate.ts'
import type { ConnectedProxies } from './connected-proxies.ts'
import { problemOf } from './problem-of.ts'

export interface FeedUpgradeOptions {
  readonly control: Control
  readonly hub: FeedHub
  readonly proxies: ConnectedProxies
  readonly onConfirmed: (verdict: Verdict, durationMs: number) => void
  readonly isStopping: () => boolean
}

/** What a proxy sends is small: a confirmation has a few hundred bytes. */
const inboundBytesMax = 16 * 1024
const connectionsMax = 5_000

/** Returns a listener for a server's `upgrade`. */
export function createFeedUpgrade(
  options: FeedUpgradeOptions,
): (request: IncomingMessage, socket: Duplex, head: Buffer) => void {
  const { control, hub, proxies, onConfirmed, isStopping } = options
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: inboundBytesMax,
    perMessageDeflate: false,
    clientTracking: false,
  })

  const open = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    if (request.url !== feedPath || !(socket instanceof TLSSocket)) {
      throw new SallyportError('not-found', `upgrade of ${request.url ?? ''}`, {
        clientMessage: 'there is no such WebSocket',
      })
    }
    if (isStopping() || proxies.size >= connectionsMax) throw unavailable()
    const certificate = socket.getPeerX509Certificate()
    if (certificate === undefined) {
      throw new SallyportError('evidence-missing', 'a feed without a client certificate', {
        clientMessage: 'the feed needs a proxy’s certificate',
      })
    }
    const proxy = await authenticateProxy(control, certificate.raw)
    // Of certificates that were issued before keys were kept.
    await keepProxyKey(control.state, control.realm, proxy)
    server.handleUpgrade(request, socket, head, (webSocket) => {
      const connection: FeedConnection = serveFeedConnection({
        socket: webSocket,
        peer: {
          proxyId: proxy.id,
          group: proxy.group,
          domain: proxy.domain,
          expiresAtMs: proxy.expiresAtMs,
        },
        hub,
        control,
        onConfirmed,
        onClosed: () => proxies.remove(connection),
      })
      proxies.add(connection)
      control.log.info({ proxyId: proxy.id, group: proxy.group }, 'a proxy connected')
    })
  }

  return (request, socket, head) => {
    socket.on('error', () => {})
    withDeadline(control.clock, socket)
    open(request, socket, head).catch((error: unknown) => {
      const problem = problemOf(error)
      control.log.warn(
        { code: problem.code, error: String(error), remoteAddress: request.socket.remoteAddress },
        'a feed was refused',
      )
      const body = JSON.stringify(problem)
      socket.end(
        `HTTP/1.1 ${problem.status} Refused\r\ncontent-type: application/problem+json\r\n` +
          `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      )
    })
  }
}

/** A refused peer that does not close its side must not keep the socket. */
function withDeadline(clock: Clock, socket: Duplex): void {
  socket.once('finish', () => {
    const timer = clock.startTimer(1_000, () => socket.destroy())
    socket.once('close', () => timer.cancel())
  })
}

function unavailable(): SallyportError {
  return new SallyportError('store-unavailable', 'control stops, or has too many feeds', {
    clientMessage: 'this control takes no more feeds now',
    hint: 'try again',
  })
}
