/**
 * The client's side: key exchange with the key of the name that it asked for, authentication, and then either a jump or a session.
 */
import type { Duplex } from 'node:stream'
import type { Gate, Host, HostKey, Identity } from '../engine.ts'
import type { Timer } from '../kit/clock.ts'
import { SallyportError, toSallyportError } from '../kit/errors.ts'
import type { Downstream } from '../session.ts'
import { Authentication, wordsOf } from './downstream/authenticate.ts'
import { nameLogin } from './downstream/route.ts'
import { Connection, type ConnectionHandlers } from './wire/connection.ts'
import { disconnectReasons, longPacketBytesMax } from './wire.ts'
import { Transport } from './wire/transport.ts'

export interface Place {
  readonly socket: Duplex & Downstream
  readonly hostKeys: readonly HostKey[]
  readonly remoteAddress: string
  readonly remotePort: number
  /** Inside of a jump: the resource that the host name says, and who jumped. */
  readonly jump: { readonly resource: string; readonly identity: Identity } | undefined
}

/** Somebody who is in, and what they asked for. */
export interface Login {
  readonly place: Place
  readonly transport: Transport
  readonly identity: Identity
  readonly resource: string | undefined
  readonly wanted: string
}

/** What serves the channels of a login. */
export interface Serving extends ConnectionHandlers {
  /** Its connection exists now. */
  begin(connection: Connection): void
  /** The client is gone. Resolves when nothing of it is left. */
  end(error: Error | undefined): Promise<void>
}

/**
 * Serves one connection, or one inside of a jump; resolves when it is over. `handshakeDone` is called once, when it is known who it is, or
 * that it will not be.
 */
export function receive(
  place: Place,
  gate: Gate,
  host: Host,
  serve: (login: Login) => Serving,
  handshakeDone: () => void,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  let connection: Connection | undefined
  let serving: Serving | undefined
  let identity: Identity | undefined
  let leaving: Timer | undefined
  let isShaking = true
  const shaken = (): void => {
    if (!isShaking) return
    isShaking = false
    handshakeDone()
  }
  const leave = async (error: Error | undefined): Promise<void> => {
    await serving?.end(error)
    if (place.jump === undefined) identity?.[Symbol.dispose]()
  }
  const transport = new Transport(
    place.socket,
    { side: 'server', hostKeys: place.hostKeys },
    {
      ready() {},
      message(type, payload) {
        if (connection === undefined) authentication.message(type, payload)
        else connection.message(type, payload)
      },
      drained: () => connection?.drained(),
      flooded: (isFlooded) => serving?.flooded?.(isFlooded),
      rekeyed() {
        // Each costs far more here than there; who is not in yet has no use for another.
        if (connection === undefined) throw rekeyedTooEarly()
      },
      ending() {
        leaving = host.clock.startTimer(host.limits.farewellMs, () => transport.destroy())
      },
      closed(error) {
        leaving?.cancel()
        shaken()
        authentication.cancel()
        let why = error
        try {
          connection?.end()
        } catch (thrown) {
          why ??= toSallyportError(thrown)
        }
        resolve(leave(why))
      },
    },
  )
  const authentication = new Authentication({
    ...{ transport, gate, host },
    remoteAddress: place.remoteAddress,
    inherited: place.jump?.identity,
    done(user, found) {
      identity = found
      shaken()
      // Only now: of strangers a full packet is held each, and there may be many.
      transport.takePackets(longPacketBytesMax)
      try {
        const route = nameLogin(user, place.jump?.resource)
        serving = serve({ place, transport, identity: found, ...route })
      } catch (thrown) {
        const error = toSallyportError(thrown)
        host.log.info({ code: error.code, why: error.message }, 'connection refused')
        transport.disconnect(disconnectReasons.byApplication, wordsOf(error))
        return
      }
      const { clock, limits } = host
      connection = new Connection(transport, serving, {
        clock,
        channelsMax: limits.channelsMax,
        keepaliveMs: limits.keepaliveMs,
      })
      serving.begin(connection)
    },
  })
  transport.start()
  return promise
}

function rekeyedTooEarly(): SallyportError {
  return new SallyportError('protocol-violation', 'keys exchanged again before the login', {
    clientMessage: 'protocol error: keys exchanged again before the login',
  })
}
