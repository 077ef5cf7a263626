/** Accepts connections of one protocol, within limits, and hands them to its engine. */
import { createServer, type AddressInfo, type Socket } from 'node:net'
import type { ProtocolName } from '../protocols/activity.ts'
import type { Engine, Gate, Host, Log } from '../protocols/engine.ts'
import type { Clock, Timer } from '../protocols/kit/clock.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import type { ListenAddress } from './config.ts'
import type { Metrics } from './observe/metrics.ts'

/** Connections of this proxy, over all protocols. */
export interface Connections {
  readonly open: number
  readonly handshakes: number
}

export interface ConnectionLimits extends Connections {
  /** Takes a place for a new connection; says which limit there is none under. */
  enter(connection: Socket, address: string): 'entered' | 'connections' | 'handshakes'
  /** TLS is there and nobody is admitted: it counts as a handshake still, and is the first to go where there are too many. */
  waits(connection: Socket): void
  /** The handshake is over, well or badly. */
  settled(connection: Socket): void
  left(connection: Socket): void
  readonly connections: Iterable<Socket>
}

export function createConnectionLimits(limits: Limits): ConnectionLimits {
  const open = new Set<Socket>()
  const handshakes = new Map<Socket, string>()
  const perAddress = new Map<string, number>()
  /** Of the handshakes; the oldest first. */
  const waiting = new Set<Socket>()
  const settled = (connection: Socket): void => {
    const address = handshakes.get(connection)
    if (address === undefined) return
    handshakes.delete(connection)
    waiting.delete(connection)
    const left = (perAddress.get(address) ?? 1) - 1
    if (left === 0) perAddress.delete(address)
    else perAddress.set(address, left)
  }
  const left = (connection: Socket): void => {
    settled(connection)
    open.delete(connection)
  }
  /** Ends the oldest that waits for nothing but a first request, such as browsers open in advance. False: there is none. */
  const makeRoom = (address?: string): boolean => {
    for (const connection of waiting) {
      if (address !== undefined && handshakes.get(connection) !== address) continue
      left(connection)
      connection.destroy()
      return true
    }
    return false
  }
  return {
    get open() {
      return open.size
    },
    get handshakes() {
      return handshakes.size
    },
    get connections() {
      return open
    },
    enter(connection, address) {
      const ofAddress = (): number => perAddress.get(address) ?? 0
      if (ofAddress() >= limits.handshakesPerAddressMax && !makeRoom(address)) return 'handshakes'
      if (handshakes.size >= limits.handshakesMax && !makeRoom()) return 'handshakes'
      if (open.size >= limits.connectionsMax && !makeRoom()) return 'connections'
      open.add(connection)
      handshakes.set(connection, address)
      perAddress.set(address, ofAddress() + 1)
      return 'entered'
    },
    waits(connection) {
      if (handshakes.has(connection)) waiting.add(connection)
    },
    settled,
    left,
  }
}

export interface ListenerOptions {
  readonly engine: Engine
  readonly address: ListenAddress
  /** A gate for one connection: cancels are counted by its address. */
  readonly gateFor: (remoteAddress: string, protocol: ProtocolName) => Gate
  readonly host: Omit<Host, 'handshakeDone' | 'handshakeWaits'>
  readonly connections: ConnectionLimits
  readonly clock: Clock
  readonly limits: Limits
  readonly metrics: Pick<Metrics, 'refused'>
  readonly log: Log
}

export interface Listener {
  readonly port: number
  /** Whether it takes connections. */
  readonly isListening: boolean
  /** Takes no more connections; those there are go on. */
  close(): void
}

/** Rejects with the system's error if the port cannot be had. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { engine, address, connections, clock, limits, metrics, log } = options
  // An engine ends its own handshakes, with words; this is for one that does not.
  const patienceMs =
    limits.handshakeMs + limits.confirmMs * 2 + limits.upstreamConnectMs + limits.refusalMs * 2

  const onConnection = (connection: Socket): void => {
    // Listened to from the first moment on: an error that nobody hears ends the process.
    connection.on('error', (error) => log.debug({ error: error.message }, 'client connection'))
    const remoteAddress = connection.remoteAddress ?? ''
    const entered = connections.enter(connection, remoteAddress)
    if (entered !== 'entered') {
      metrics.refused(engine.name, 'limit-reached')
      log.warn({ limit: entered, remoteAddress }, 'a connection was refused: limit-reached')
      connection.destroy()
      return
    }
    const patience: Timer = clock.startTimer(patienceMs, () => {
      log.warn({ remoteAddress }, 'a handshake did not end')
      connection.destroy()
    })
    const settled = (): void => {
      patience.cancel()
      connections.settled(connection)
    }
    connection.once('close', () => {
      patience.cancel()
      connections.left(connection)
    })
    engine
      .serve(connection, options.gateFor(remoteAddress, engine.name), {
        ...options.host,
        handshakeWaits: () => {
          patience.cancel()
          connections.waits(connection)
        },
        handshakeDone: settled,
      })
      .catch((error: unknown) => {
        log.error({ error: error instanceof Error ? error.stack : String(error) }, 'engine failed')
        connection.destroy()
      })
  }

  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 })
  server.on('connection', onConnection)
  server.maxConnections = limits.connectionsMax + limits.handshakesMax
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: address.host, port: address.port, backlog: 1_024 }, () => {
      server.off('error', reject)
      server.on('error', (error) => log.error({ error: error.message }, 'listener'))
      resolve()
    })
  })
  return {
    port: (server.address() as AddressInfo).port,
    get isListening() {
      return server.listening
    },
    close: () => void server.close(),
  }
}
