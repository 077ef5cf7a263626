/** One proxy's WebSocket: catches up, follows the hub, answers confirmations, and is dropped when it does not read. */
import type { WebSocket } from 'ws'
import { toControl, type ToControl, type ToProxy } from '../api/feed.ts'
import { signToken } from '../api/tokens.ts'
import type { Timer } from '../../protocols/kit/clock.ts'
import { nowMs, type Control } from '../control.ts'
import { signingKeyOf } from '../keys/signing-key.ts'
import { confirm } from './confirm.ts'
import type { FeedHub } from './feed-hub.ts'
import { eventsMessages, resyncMessages } from './feed-messages.ts'
import { readFullState } from './full-state.ts'
import { noteWarnings } from './note-warnings.ts'
import { isReadable, readFeed, readFeedBounds } from './read-feed.ts'
import type { Question, Verdict } from './session-facts.ts'

export interface FeedPeer {
  readonly proxyId: string
  readonly group: string
  readonly domain: string
  /** When its certificate ends. */
  readonly expiresAtMs: number
}

export interface FeedConnection {
  readonly peer: FeedPeer
  /** The last position sent, and the last that the proxy has on its disk. */
  readonly sent: number
  readonly applied: number
  close(code: number, reason: string): void
}

export interface FeedConnectionOptions {
  readonly socket: WebSocket
  readonly peer: FeedPeer
  readonly hub: FeedHub
  readonly control: Control
  readonly onConfirmed?: (verdict: Verdict, durationMs: number) => void
  readonly onClosed: () => void
}

/** What waits in the socket of a proxy that does not read. */
const bufferedBytesMax = 32 * 1024 * 1024
/** Confirmations in work; past it the socket is not read. */
const confirmsMax = 256
const helloMs = 10_000
const pingMs = 5_000
const silenceMs = 20_000
/** One message of a resync, from sending to the kernel. */
const flushMs = 30_000
const rowsPerRead = 1_000

export function serveFeedConnection(options: FeedConnectionOptions): FeedConnection {
  const { socket, peer, hub, control, onConfirmed, onClosed } = options
  const { clock, log, realm, state, keys } = control
  let cursor = 0
  let applied = 0
  let greeted = false
  let closed = false
  let confirms = 0
  let signing = false
  let newest: readonly string[] = []
  let isNoting = false
  let heardAtMs = clock.monotonicMs()
  let stopFollowing: (() => void) | undefined
  let timer: Timer | undefined
  const helloTimer = clock.startTimer(helloMs, () => close(1008, 'no hello'))

  const close = (code: number, reason: string): void => {
    socket.close(code, reason)
    // A peer that does not answer the closing handshake must not hold the socket.
    clock.startTimer(1_000, () => socket.terminate())
  }
  const drop = (why: string): void => {
    log.warn({ proxyId: peer.proxyId, why }, 'a proxy was disconnected')
    socket.terminate()
  }
  const send = (message: ToProxy): void => {
    if (closed) return
    if (socket.bufferedAmount > bufferedBytesMax) drop('it does not read')
    else socket.send(JSON.stringify(message))
  }
  /** Resolves when the message has left; rejects when it does not. */
  const sendSlowly = (message: ToProxy): Promise<void> =>
    new Promise((resolve, reject) => {
      const late = clock.startTimer(flushMs, () => reject(new Error('it does not read')))
      socket.send(JSON.stringify(message), (error) => {
        late.cancel()
        if (error) reject(error)
        else resolve()
      })
    })

  const start = async (from: number): Promise<void> => {
    const { group } = peer
    cursor = from
    send({
      kind: 'welcome',
      proxyId: peer.proxyId,
      group,
      domain: peer.domain,
      controlTimeMs: nowMs(clock),
    })
    if (!isReadable(cursor, await readFeedBounds(state, realm))) {
      const full = await readFullState(state, { realm, group, keys, atMs: nowMs(clock) })
      log.info({ proxyId: peer.proxyId, cursor, position: full.position }, 'a proxy resyncs')
      for (const message of resyncMessages(full.position, full.events)) await sendSlowly(message)
      cursor = full.position
    }
    do {
      const rows = await readFeed(state, realm, cursor, rowsPerRead)
      const last = rows.at(-1)
      if (last !== undefined) {
        for (const message of eventsMessages(rows, group, cursor, last.position)) {
          await sendSlowly(message)
        }
        cursor = last.position
      }
      // From here to `follow` nothing waits, so nothing can come in between.
    } while (cursor < hub.position)
    if (closed) return
    stopFollowing = hub.follow({
      rows(rows, position) {
        if (position <= cursor) return
        for (const message of eventsMessages(rows, group, cursor, position)) send(message)
        cursor = position
      },
      complete: beat,
      lost: () => close(1012, 'the feed is another than before'),
    })
    // A lease at once: an outage may begin before the next poll.
    if (hub.completeAtMs !== undefined) beat(hub.position, hub.completeAtMs)
    hub.ring()
  }

  const beat = (position: number, atMs: number): void => {
    if (signing || closed) return
    signing = true
    const claims = { realm, proxyId: peer.proxyId, position, issuedAtMs: atMs }
    signToken('lease', claims, signingKeyOf(keys.signers.leases)).then(
      (lease) => {
        signing = false
        send({ kind: 'heartbeat', controlTimeMs: nowMs(clock), position, lease })
      },
      (error: unknown) => {
        signing = false
        log.error({ error: String(error) }, 'a lease could not be signed')
      },
    )
  }

  const answer = async (question: Question): Promise<void> => {
    const startedAtMs = clock.monotonicMs()
    const verdict = await confirm(control, peer, question)
    send(forProxy(verdict))
    // The proxy waits for this position: do not let it wait for the poll.
    if (verdict.position > hub.position) hub.ring()
    onConfirmed?.(verdict, clock.monotonicMs() - startedAtMs)
    if (verdict.kind === 'denied') {
      log.info(
        { proxyId: peer.proxyId, sessionId: question.sessionId, why: verdict.why },
        'a session was denied',
      )
    }
  }

  /** One after the other, and of those that come meanwhile the newest alone. */
  const note = (warnings: readonly string[]): void => {
    newest = warnings
    if (isNoting) return
    isNoting = true
    noteWarnings(control, peer.proxyId, warnings)
      .catch((error: unknown) =>
        log.warn({ proxyId: peer.proxyId, error: String(error) }, 'its warnings were not kept'),
      )
      .finally(() => {
        isNoting = false
        if (newest !== warnings) note(newest)
      })
  }

  const take = (message: ToControl): void => {
    if (message.kind === 'hello') {
      if (greeted) return close(1008, 'a second hello')
      greeted = true
      helloTimer.cancel()
      note(message.warnings ?? [])
      start(message.cursor).catch((error: unknown) => {
        log.error({ proxyId: peer.proxyId, error: String(error) }, 'a feed could not be started')
        close(1011, 'try again')
      })
      return
    }
    if (!greeted) return close(1008, 'hello comes first')
    if (message.kind === 'warnings') {
      note(message.warnings)
      return
    }
    if (message.kind === 'applied') {
      applied = Math.max(applied, message.position)
      return
    }
    if (message.kind === 'time') {
      send({ kind: 'time', requestId: message.requestId, controlTimeMs: nowMs(clock) })
      return
    }
    confirms += 1
    if (confirms >= confirmsMax) socket.pause()
    answer(message)
      .catch((error: unknown) => log.error({ error: String(error) }, 'a confirmation failed'))
      .finally(() => {
        confirms -= 1
        if (confirms < confirmsMax && socket.isPaused) socket.resume()
      })
  }

  const watch = (): void => {
    if (clock.monotonicMs() - heardAtMs > silenceMs && !socket.isPaused) {
      return drop('it is silent')
    }
    if (nowMs(clock) >= peer.expiresAtMs) return close(1008, 'the certificate has expired')
    socket.ping()
    timer = clock.startTimer(pingMs, watch)
  }
  timer = clock.startTimer(pingMs, watch)

  socket.on('pong', () => (heardAtMs = clock.monotonicMs()))
  socket.on('message', (data, isBinary) => {
    heardAtMs = clock.monotonicMs()
    const message = isBinary ? undefined : read(data as Buffer)
    if (message === undefined) close(1008, 'a message that does not fit the protocol')
    else take(message)
  })
  socket.on('error', (error) => {
    log.info({ proxyId: peer.proxyId, error: error.message }, 'the socket of a proxy failed')
  })
  socket.on('close', () => {
    closed = true
    stopFollowing?.()
    timer?.cancel()
    helloTimer.cancel()
    onClosed()
  })
  return {
    peer,
    close,
    get sent() {
      return cursor
    },
    get applied() {
      return applied
    },
  }
}

/** A proxy learns of its own group only: what another has is to it as if it were not there. */
function forProxy(verdict: Verdict): Verdict {
  const elsewhere = verdict.kind === 'denied' && verdict.why === 'not-in-group'
  return elsewhere ? { ...verdict, why: 'no-resource' } : verdict
}

function read(data: Buffer): ToControl | undefined {
  try {
    return toControl.safeParse(JSON.parse(data.toString('utf8'))).data
  } catch {
    return undefined
  }
}
