import type { Socket } from 'node:net'
import { passedThrough } from './passed-through.ts'

/** How a relay ended: which side closed or failed first, or what the proxy itself did. */
export type RelayEnd =
  | { readonly side: 'client' | 'resource'; readonly error?: Error }
  /** A handler threw, or `stop` was called. */
  | { readonly side: 'proxy'; readonly error: unknown }

export interface RelayHandlers {
  /** A chunk of the client's. What it throws ends the relay. */
  fromClient(chunk: Buffer): void
  /** A chunk of the resource's. */
  fromResource(chunk: Buffer): void
}

export interface Relay {
  /** Resolves once, with what ended it first. Never rejects. */
  readonly ended: Promise<RelayEnd>
  /** Keeps the client's bytes back for a reason; it flows again when every reason was taken back. */
  readonly client: Valve
  readonly resource: Valve
  /** Ends the relay from the inside. */
  stop(error: unknown): void
}

/** Reasons to keep a side back; bits. */
export const valveReasons = { other: 1, forwarding: 2, undecided: 4 } as const

/** Pauses a socket while there is any reason to. */
export class Valve {
  readonly #socket: Socket
  #reasons = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  hold(reason: number): void {
    if (this.#reasons === 0) this.#socket.pause()
    this.#reasons |= reason
  }

  release(reason: number): void {
    if (this.#reasons === 0) return
    this.#reasons &= ~reason
    if (this.#reasons === 0) this.#socket.resume()
  }
}

/**
 * Passes chunks of two sockets to their handlers and keeps back-pressure: the resource is read no faster than the client
 * takes it (the handler writes to the client; this watches its buffer), and the client no faster than the
 * handler's `client.hold` allows. Closing either side, or half of it, ends the relay; the sockets are left
 * open for the farewell.
 */
export function relay(client: Socket, resource: Socket, handlers: RelayHandlers): Relay {
  let resolve: (end: RelayEnd) => void = () => {}
  const ended = new Promise<RelayEnd>((done) => {
    resolve = done
  })
  let over = false
  const clientValve = new Valve(client)
  const resourceValve = new Valve(resource)
  const finish = (end: RelayEnd): void => {
    if (over) return
    over = true
    client.off('data', onClient)
    client.pause()
    resolve(end)
  }
  const onClient = (chunk: Buffer): void => {
    passedThrough(chunk.length)
    try {
      handlers.fromClient(chunk)
    } catch (error) {
      finish({ side: 'proxy', error })
    }
  }
  const onResource = (chunk: Buffer): void => {
    passedThrough(chunk.length)
    try {
      handlers.fromResource(chunk)
      if (client.writableNeedDrain && !over) resourceValve.hold(valveReasons.other)
    } catch (error) {
      finish({ side: 'proxy', error })
    }
  }
  client.on('data', onClient)
  client.on('drain', () => resourceValve.release(valveReasons.other))
  client.on('end', () => finish({ side: 'client' }))
  client.on('close', () => finish({ side: 'client' }))
  client.on('error', (error) => finish({ side: 'client', error }))
  resource.on('data', onResource)
  resource.on('end', () => finish({ side: 'resource' }))
  resource.on('close', () => finish({ side: 'resource' }))
  resource.on('error', (error) => finish({ side: 'resource', error }))
  client.resume()
  resource.resume()
  return {
    ended,
    client: clientValve,
    resource: resourceValve,
    stop: (error) => finish({ side: 'proxy', error }),
  }
}
