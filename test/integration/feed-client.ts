/** A proxy's side of the feed, as bare as it can be. */
import { WebSocket } from 'ws'
import { toProxy, type FeedEvent, type ToControl, type ToProxy } from '../../control/api/feed.ts'
import { feedPath } from '../../control/api/routes.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import type { TestCaller } from './running-control.ts'

type Of<K extends ToProxy['kind']> = Extract<ToProxy, { kind: K }>

export interface FeedClient {
  readonly messages: ToProxy[]
  readonly closed: { code: number; reason: string } | undefined
  /** Events as they came, those of a resync included. */
  events(): FeedEvent[]
  /** The last position that was reached by `events` or a finished `resync`. */
  position(): number
  /** Resolves with the first message of a kind that fits, also one that came before. Rejects after 15 s. */
  next<K extends ToProxy['kind']>(kind: K, fits?: (message: Of<K>) => boolean): Promise<Of<K>>
  send(message: ToControl | string): void
  close(): void
}

export interface FeedTarget {
  readonly url: string
  readonly authorityPem: string
}

/** Rejects with `status N` when the upgrade is refused. */
export function connectFeed(target: FeedTarget, caller: TestCaller): Promise<FeedClient> {
  const url = new URL(feedPath, target.url)
  url.protocol = 'wss:'
  const socket = new WebSocket(url, {
    ca: target.authorityPem,
    cert: caller.certificatePem,
    key: caller.privateKeyPem,
    perMessageDeflate: false,
  })
  const messages: ToProxy[] = []
  const waiting = new Set<() => void>()
  let closed: FeedClient['closed']
  const wake = (): void => {
    for (const look of [...waiting]) look()
  }
  socket.on('message', (data) => {
    messages.push(toProxy.parse(JSON.parse((data as Buffer).toString('utf8'))))
    wake()
  })
  socket.on('close', (code, reason) => {
    closed = { code, reason: reason.toString() }
    wake()
  })
  const client: FeedClient = {
    messages,
    get closed() {
      return closed
    },
    events: () =>
      messages.flatMap((message) =>
        message.kind === 'events' || message.kind === 'resync' ? message.events : [],
      ),
    position: () =>
      messages.reduce(
        (at, message) =>
          message.kind === 'events' || (message.kind === 'resync' && !message.more)
            ? message.position
            : at,
        0,
      ),
    next: <K extends ToProxy['kind']>(kind: K, fits: (message: Of<K>) => boolean = () => true) =>
      new Promise<Of<K>>((resolve, reject) => {
        const timer = systemClock.startTimer(15_000, () => done(`no ${kind} came`))
        const done = (failure?: string, found?: Of<K>): void => {
          timer.cancel()
          waiting.delete(look)
          if (found === undefined) reject(new Error(failure))
          else resolve(found)
        }
        const look = (): void => {
          const found = messages.find(
            (message): message is Of<K> => message.kind === kind && fits(message as Of<K>),
          )
          if (found !== undefined) done(undefined, found)
          else if (closed !== undefined) done(`closed with ${closed.code} ${closed.reason}`)
        }
        waiting.add(look)
        look()
      }),
    send: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
    close: () => socket.terminate(),
  }
  return new Promise((resolve, reject) => {
    socket.on('open', () => resolve(client))
    socket.on('error', reject)
    socket.on('unexpected-response', (_request, response) => {
      response.resume()
      socket.terminate()
      reject(new Error(`status ${response.statusCode}`))
    })
  })
}

export async function follow(
  target: FeedTarget,
  caller: TestCaller,
  cursor = 0,
): Promise<FeedClient> {
  const client = await connectFeed(target, caller)
  client.send({ kind: 'hello', cursor, version: 'test', bootEpoch: 'test' })
  await client.next('welcome')
  return client
}
