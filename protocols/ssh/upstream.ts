/**
 * The resource's side up to the end of the login: key exchange with a host that is known, and a certificate, key or password for as long
 * as the login takes; through the customer's bastion where there is one.
 */
import type { Duplex } from 'node:stream'
import type { Host } from '../engine.ts'
import { SallyportError, toSallyportError } from '../kit/errors.ts'
import { sshString, sshU32 } from '../kit/ssh-wire.ts'
import type { Session, SshHostTrust } from '../session.ts'
import { trustedHostKey, wantedHostKeys } from './upstream/host-trust.ts'
import { authenticate, type Authenticating } from './upstream/authenticate.ts'
import { prepareSignIn } from './upstream/sign-in.ts'
import { disconnectReasons } from './wire.ts'
import { ChannelStream } from './wire/channel-stream.ts'
import { Connection, type ConnectionHandlers } from './wire/connection.ts'
import { Transport } from './wire/transport.ts'

export interface LoggedIn {
  readonly connection: Connection
  /** Stops reading what the resource says, or goes on. */
  hold(isHeld: boolean): void
  /** Says goodbye and closes, the bastion's too. */
  leave(): void
  /** Resolves when the connection is gone. */
  readonly closed: Promise<Error | undefined>
}

/**
 * Dials and logs in. Ends early when `signal` aborts. `handlers` serve what the resource opens. Rejects with `upstream-unreachable`,
 * `upstream-login`, `upstream-host-key`, `secret-unavailable` or `secret-not-bound`; what the client may read never names the account.
 */
export async function logIn(
  session: Session,
  handlers: ConnectionHandlers,
  host: Host,
  signal: AbortSignal,
): Promise<LoggedIn> {
  const { upstream } = session
  const trust = upstream.ssh
  if (trust === undefined) throw hostUnknown('nothing says whom to believe there')
  const deadline = new AbortController()
  const timer = host.clock.startTimer(host.limits.upstreamConnectMs, () =>
    deadline.abort(
      new SallyportError('upstream-unreachable', 'the login at the resource took too long', {
        clientMessage: 'the resource did not answer in time',
        hint: 'Try again; if it happens again, tell the operator.',
      }),
    ),
  )
  const either = AbortSignal.any([signal, deadline.signal])
  let bastion: LoggedIn | undefined
  try {
    const socket = await unless(either, session.connect())
    socket.setNoDelay(true)
    if (trust.bastion === undefined) {
      return await logInOver(
        socket,
        session,
        'resource',
        trust,
        upstream.host,
        handlers,
        host,
        either,
      )
    }
    const none: ConnectionHandlers = {
      open: (opening) => opening.refuse(1, 'nothing is opened this way'),
      globalRequest: (_name, _payload, answer) => answer(false),
    }
    const there = trust.bastion
    bastion = await logInOver(socket, session, 'bastion', there, there.host, none, host, either)
    const carried = await unless(either, openThrough(bastion, upstream.host, upstream.port))
    const through = bastion
    const inner = await logInOver(
      ...[carried, session, 'resource' as const, trust, upstream.host, handlers, host, either],
    )
    return {
      ...inner,
      leave() {
        inner.leave()
        through.leave()
      },
    }
  } catch (error) {
    bastion?.leave()
    throw either.aborted ? toSallyportError(either.reason) : error
  } finally {
    timer.cancel()
  }
}

function unless<T>(signal: AbortSignal, wait: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    wait.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

function openThrough(bastion: LoggedIn, host: string, port: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const stream = new ChannelStream()
    const fields = [sshString(host), sshU32(port), sshString('127.0.0.1'), sshU32(0)]
    bastion.connection.open('direct-tcpip', Buffer.concat(fields), {
      handlers: stream.handlers,
      opened(channel) {
        stream.carriedBy(channel)
        resolve(stream)
      },
      refused({ reason, text }) {
        reject(
          new SallyportError('upstream-unreachable', `the bastion: ${text} (${reason})`, {
            clientMessage: 'the bastion in front of the resource cannot reach it',
            hint: 'Try again; if it happens again, tell the operator.',
          }),
        )
      },
    })
  })
}

async function logInOver(
  socket: Duplex,
  session: Session,
  of: 'resource' | 'bastion',
  trust: SshHostTrust,
  name: string,
  handlers: ConnectionHandlers,
  host: Host,
  signal: AbortSignal,
): Promise<LoggedIn> {
  const closed = Promise.withResolvers<Error | undefined>()
  const login = Promise.withResolvers<void>()
  const wanted = wantedHostKeys(trust)
  if (wanted.length === 0) throw hostUnknown('no key of the host is known')
  let connection: Connection | undefined
  let authenticating: Authenticating | undefined
  let isHostKnown = true
  const { clock, limits } = host
  const transport: Transport = new Transport(
    socket,
    {
      side: 'client',
      hostKeyAlgorithms: wanted,
      verifyHost(shown) {
        const key = trustedHostKey(shown, trust, name, clock)
        isHostKnown = key !== undefined
        return key
      },
    },
    {
      ready: () => void begin().catch(login.reject),
      message(type, payload) {
        if (connection !== undefined) connection.message(type, payload)
        else authenticating?.message(type, payload)
      },
      drained: () => connection?.drained(),
      flooded: (isFlooded) => handlers.flooded?.(isFlooded),
      closed(error) {
        login.reject(isHostKnown ? unreachable(error) : hostUnknown('it shows another key'))
        let why = error
        try {
          connection?.end()
        } catch (thrown) {
          why ??= toSallyportError(thrown)
        }
        closed.resolve(why)
      },
    },
  )
  // In the turn of the answer itself: the server's next message belongs to the connection already.
  const done = (): void => {
    const options = { clock, channelsMax: limits.channelsMax, keepaliveMs: limits.keepaliveMs }
    connection = new Connection(transport, handlers, options)
    login.resolve()
  }
  const begin = async (): Promise<void> => {
    const signIn = await prepareSignIn(session, of)
    if (transport.isOver) signIn.drop()
    else authenticating = authenticate(transport, signIn, done)
  }
  const onAbort = (): void => {
    login.reject(signal.reason as Error)
    transport.destroy()
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) throw signal.reason as Error
    transport.start()
    await login.promise
    return {
      connection: connection!,
      closed: closed.promise,
      hold: (isHeld) => transport.hold(isHeld),
      leave: () => transport.disconnect(disconnectReasons.byApplication, 'the session is over'),
    }
  } catch (error) {
    transport.destroy()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
    authenticating?.drop()
  }
}

function unreachable(error: Error | undefined): SallyportError {
  if (error instanceof SallyportError) return error
  const why = error?.message ?? 'it closed the connection'
  return new SallyportError('upstream-unreachable', `the login at the resource: ${why}`, {
    clientMessage: 'the resource closed the connection before the login was done',
    hint: 'Try again; if it happens again, tell the operator.',
  })
}

function hostUnknown(why: string): SallyportError {
  return new SallyportError('upstream-host-key', `the resource’s host key: ${why}`, {
    clientMessage: 'the resource does not prove to be the host that it should be',
    hint: 'Tell the operator: its host key is not the one that the resource names.',
  })
}
