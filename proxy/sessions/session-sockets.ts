/** Every socket of one session, so that its end takes all of them. */
import type { Socket } from 'node:net'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { Roster } from '../../protocols/kit/roster.ts'
import type { Downstream } from '../../protocols/session.ts'
import type { Dial } from './dial.ts'

/** Sockets of one session at a time: the main one, and cancels. A protocol with a pool has that many more. */
const dialsMax = 16

export interface SessionSockets {
  /** The first dial at first, then new ones. Rejects with `upstream-unreachable`, `limit-reached` or `secret-not-bound`. */
  connect(): Promise<Socket>
  /** Returns how to detach. */
  attach(downstream: Downstream): () => void
  /** Whether something for the client waits in our own memory. */
  readonly isDownstreamQueued: boolean
  /**
   * Whether what the session's work goes over may hold something that the resource has not got. That of a pool always may: TLS and
   * frames lie on top of its sockets, and requests wait for them.
   */
  readonly mayHoldUpstream: boolean
  /** Whether cancels are dialled after a cut. Who has a pool cancels by giving its connections up. */
  readonly hasCancels: boolean
  /** What the session's work goes over: its first socket, or all of a pool. */
  destroyWork(): void
  /** The session is cut: what is dialled from here on is for cancels, which carry no work. */
  beginCancels(): void
  /** Ends towards the client and resolves once that side and the cancels have closed by themselves. */
  settle(): Promise<void>
  /** All but the cancels. */
  destroyAll(): void
  destroyCancels(): void
}

export interface SessionSocketsOptions {
  /** Started by the gate, beside the confirmation. */
  readonly first: Dial
  readonly dial: () => Dial
  /** Whether the policy lets the secret go to this IP address. */
  readonly allowsPeer: (address: string) => boolean
  readonly resource: string
  /** Connections that the protocol's pool may have at a time; 0: it has none. */
  readonly pooledMax: number
}

export function createSessionSockets(options: SessionSocketsOptions): SessionSockets {
  const { first, allowsPeer, resource } = options
  const socketsMax = dialsMax + options.pooledMax
  const isPooled = options.pooledMax > 0
  const dials = new Set<Dial>([first])
  const cancels = new Set<Dial>()
  let firstIsTaken = false
  let isCut = false
  let isOver = false
  const downstreams = new Roster<Downstream>()
  let main: Socket | undefined

  function take(downstream: Downstream): () => void {
    const place = downstreams.add(downstream)
    const detach = (): void => downstreams.remove(place)
    downstream.on('error', () => undefined)
    downstream.once('close', detach)
    if (downstream.destroyed) detach()
    else if (isOver) downstream.destroy()
    return detach
  }

  function next(): Dial {
    if (!firstIsTaken) {
      firstIsTaken = true
      return first
    }
    if (dials.size >= socketsMax) {
      throw new SallyportError('limit-reached', `a session has at most ${socketsMax} sockets`)
    }
    const dial = options.dial()
    dials.add(dial)
    if (isCut) cancels.add(dial)
    return dial
  }

  function forget(dial: Dial): void {
    dials.delete(dial)
    cancels.delete(dial)
  }

  const cancelsSettled = (): Promise<unknown> =>
    Promise.all([...cancels].map((dial) => dial.socket.then(closed, () => undefined)))

  return {
    async connect() {
      const dial = next()
      try {
        const socket = await dial.socket
        if (dial === first) main = socket
        socket.once('close', () => forget(dial))
        if (allowsPeer(socket.remoteAddress ?? '')) return socket
        // A name led elsewhere than where the policy lets the secret go.
        throw new SallyportError(
          'secret-not-bound',
          `"${resource}" led to ${socket.remoteAddress}, which the policy does not name`,
          {
            clientMessage: `"${resource}" is not where this proxy's policy expects it`,
            hint: 'ask the operator of the proxy to look at its policy file',
          },
        )
      } catch (error) {
        forget(dial)
        dial.destroy()
        throw error
      }
    },
    attach: take,
    get isDownstreamQueued() {
      return downstreams.items().some(({ writableLength }) => writableLength > 0)
    },
    get mayHoldUpstream() {
      return isPooled || (main?.writableLength ?? 0) > 0
    },
    hasCancels: !isPooled,
    destroyWork() {
      for (const dial of isPooled ? dials : [first]) dial.destroy()
    },
    beginCancels() {
      isCut = true
      // Whoever asks from here on does not get the dial that was meant for the work.
      firstIsTaken = true
    },
    async settle() {
      const gone: Promise<unknown>[] = [cancelsSettled()]
      for (const downstream of downstreams.items()) {
        gone.push(closed(downstream))
        // Unread input would turn the close into a reset, which throws the farewell away.
        downstream.resume()
        downstream.end()
      }
      await Promise.all(gone)
    },
    destroyAll() {
      isOver = true
      for (const downstream of downstreams.items()) downstream.destroy()
      for (const dial of dials) if (!cancels.has(dial)) dial.destroy()
    },
    destroyCancels() {
      for (const dial of cancels) dial.destroy()
    },
  }
}

function closed(socket: Pick<Socket, 'destroyed'> & Pick<Downstream, 'once'>): Promise<void> {
  if (socket.destroyed) return Promise.resolve()
  return new Promise((resolve) => socket.once('close', () => resolve()))
}
