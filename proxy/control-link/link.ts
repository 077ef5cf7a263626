/**
 * The one WebSocket between this proxy and control: mutual TLS, connected again with growing, jittered waits. What it
 * carries is feed-reader.ts's; this file only knows when it is up.
 */
import { randomInt } from 'node:crypto'
import { WebSocket } from 'ws'
import { messageBytesMax, toProxy, type ToControl, type ToProxy } from '../../control/api/feed.ts'
import { feedPath } from '../../control/api/routes.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'

/** Control speaks every second; a link that is silent this long is dead. */
const silenceMsMax = 5_000
const connectMsMax = 5_000
const waitMsMin = 100
const waitMsMax = 5_000
/** What may wait in our own socket. Confirmations are small: more means that control does not read. */
const sendBufferBytesMax = 8 * 1024 * 1024

/** `refused`: control answered and wants nothing of this proxy. That is no outage. */
export type LinkState = 'up' | 'away' | 'refused'

export interface LinkTls {
  readonly authorityPem: string
  readonly certificatePem: string
  readonly privateKeyPem: string
}

export interface Link {
  readonly state: LinkState
  /** Sends if the link is up. */
  send(message: ToControl): 'sent' | 'away' | 'refused'
  /** Ends the present connection; the next one starts by itself. */
  drop(why: string): void
  close(): void
}

export interface LinkOptions {
  /** For example `https://control.example.com:8443`. */
  readonly controlUrl: string
  /** Asked at each connect: certificates are renewed. */
  readonly tls: () => LinkTls
  /** The first message; asked once the socket is open. */
  readonly hello: () => Promise<ToControl>
  /** May throw for what must not come. */
  readonly onMessage: (message: ToProxy) => void
  readonly onLost: (why: string) => void
  readonly onState?: (state: LinkState) => void
  readonly clock: Clock
  readonly log: Log
}

export function openLink(options: LinkOptions): Link {
  const { clock, log } = options
  const url = new URL(feedPath, options.controlUrl)
  url.protocol = 'wss:'
  let state: LinkState = 'away'
  let socket: WebSocket | undefined
  let silence: Timer | undefined
  let retry: Timer | undefined
  let waitMs = waitMsMin
  let closed = false

  const become = (next: LinkState): void => {
    if (next === state) return
    state = next
    options.onState?.(next)
  }

  const send = (message: ToControl): 'sent' | 'away' | 'refused' => {
    if (state !== 'up' || socket === undefined) return state === 'refused' ? 'refused' : 'away'
    if (socket.bufferedAmount > sendBufferBytesMax) {
      drop('control does not read')
      return 'away'
    }
    socket.send(JSON.stringify(message))
    return 'sent'
  }

  function lost(why: string, next: LinkState): void {
    silence?.cancel()
    const wasUp = socket !== undefined
    socket?.terminate()
    socket = undefined
    become(next)
    if (!wasUp || closed) return
    options.onLost(why)
    // Full jitter: a fleet that lost control must not come back in step.
    const delayMs = randomInt(Math.ceil(waitMs / 4), waitMs + 1)
    waitMs = Math.min(waitMs * 2, waitMsMax)
    if (next === 'refused') {
      log.error({ why, delayMs }, 'control refuses this proxy; has it expired or been removed?')
    } else {
      log.warn({ why, delayMs }, 'the link to control is down')
    }
    retry = clock.startTimer(delayMs, connect)
  }

  function drop(why: string): void {
    lost(why, 'away')
  }

  function heard(): void {
    silence?.cancel()
    silence = clock.startTimer(silenceMsMax, () => drop('control is silent'))
  }

  function connect(): void {
    const tls = options.tls()
    const mine = new WebSocket(url, {
      ca: tls.authorityPem,
      cert: tls.certificatePem,
      key: tls.privateKeyPem,
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      maxPayload: messageBytesMax,
      handshakeTimeout: connectMsMax,
      perMessageDeflate: false,
      followRedirects: false,
    })
    socket = mine
    let why = 'closed'
    let refused = false
    // Unlike an error, a status of 4xx was decided by control: it is there and refuses us.
    mine.on('unexpected-response', (_request, response) => {
      why = `control answered with status ${response.statusCode}`
      refused = (response.statusCode ?? 500) < 500
      response.resume()
      mine.terminate()
      if (socket === mine) lost(why, refused ? 'refused' : 'away')
    })
    mine.on('error', (error) => (why = error.message))
    mine.on('close', (code) => {
      if (socket === mine) lost(`${why} (${code})`, 'away')
    })
    mine.on('open', () => {
      heard()
      options.hello().then(
        (hello) => {
          if (socket !== mine) return
          become('up')
          send(hello)
        },
        (error: unknown) => socket === mine && drop(String(error)),
      )
    })
    mine.on('message', (data, isBinary) => {
      if (socket !== mine) return
      heard()
      try {
        if (isBinary) throw new Error('a binary message')
        // ws hands over one Buffer per message unless it was asked for fragments.
        const message = toProxy.parse(JSON.parse((data as Buffer).toString('utf8')))
        options.onMessage(message)
        if (message.kind === 'welcome') waitMs = waitMsMin
      } catch (error) {
        log.error({ error: String(error).slice(0, 2_000) }, 'control sent what cannot be')
        drop('a message that does not fit the protocol')
      }
    })
  }

  connect()
  return {
    get state() {
      return state
    },
    send,
    drop,
    close() {
      closed = true
      retry?.cancel()
      lost('this proxy stops', 'away')
    },
  }
}
