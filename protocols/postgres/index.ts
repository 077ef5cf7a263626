/**
 * PostgreSQL, frontend/backend protocol 3.0. One connection, from first byte to last:
 *
 *     client                         proxy                                    resource
 *     [GSSENCRequest]            →   'N', at most twice
 *     SSLRequest                 →   'S'            (or direct TLS, with ALPN "postgresql")
 *     ClientHello with SNI       ⇄   TLS ≥ 1.2, client certificate asked for
 *     CancelRequest              →   gate.cancel(our key), close            (also without TLS)
 *     StartupMessage             →   resource from SNI or user `wanted~resource`
 *     [Authentication-            ←   only without a client certificate; the password is a
 *      CleartextPassword]             one-time token, and the gate's to judge
 *     [PasswordMessage]          →
 *                                    gate.admit → Session, or FATAL 28000
 *                                    session.connect                    →    TCP
 *                                    SSLRequest, TLS as the resource    ⇄
 *                                    StartupMessage with the account    →
 *                                    SCRAM, md5 or cleartext            ⇄    secret borrowed, dropped
 *                                                                       ←    ParameterStatus…, BackendKeyData,
 *                                                                            ReadyForQuery
 *                                    session.opened
 *     [NegotiateProtocolVersion] ←
 *     AuthenticationOk, ParameterStatus…, BackendKeyData (ours), ReadyForQuery  ←
 *     Query | Parse, Bind, …     →   record, then forward                →
 *                                ←   outcome                             ←   rows, CommandComplete, …
 *     FATAL 57P01                ←   cut: CancelRequest on another connection, Terminate
 *
 * Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol".
 * https://www.postgresql.org/docs/current/protocol.html
 */
import type { Socket } from 'node:net'
import type { Engine, Gate, Host } from '../engine.ts'
import { SallyportError, toSallyportError } from '../kit/errors.ts'
import type { RelayEnd } from '../kit/relay.ts'
import type { Cut, Session } from '../session.ts'
import type { ClientWire, StartUp } from './downstream.ts'
import { greet, negotiation } from './downstream.ts'
import { converse } from './relay.ts'
import { leave } from './upstream/leave.ts'
import type { LoggedIn } from './upstream.ts'
import { logIn } from './upstream.ts'
import { authenticationOk, backendKeyData, readyIdle } from './wire.ts'
import { fatalResponse } from './wire/error-response.ts'
import { cancelUpstream } from './upstream/cancel.ts'

export const postgres: Engine = {
  name: 'postgres',
  defaultPort: 5432,

  async serve(connection, gate, host) {
    connection.setNoDelay(true)
    connection.on('error', () => {})
    const wire: ClientWire = { socket: connection, mute: false }
    try {
      const greeting = await greet(wire, host).finally(() => host.handshakeDone(connection))
      if (greeting.kind === 'cancel') {
        gate.cancel(greeting.key)
        wire.socket.end()
      } else {
        await admitted(wire, greeting, connection, gate, host)
      }
    } catch (error) {
      refuse(wire, toSallyportError(error), host)
    }
    await closed(wire.socket, host)
  },
}

/** Everything under a session. Rejects if there is none. */
async function admitted(
  wire: ClientWire,
  startUp: StartUp,
  connection: Socket,
  gate: Gate,
  host: Host,
): Promise<void> {
  await using session = await gate.admit({
    evidence: startUp.evidence,
    protocol: 'postgres',
    resource: startUp.resource,
    wanted: startUp.wanted,
    remoteAddress: connection.remoteAddress ?? '',
    remotePort: connection.remotePort ?? 0,
    attributes: attributes(startUp.parameters),
  })
  const downstream = wire.socket
  session.attach(downstream)
  try {
    const upstream = await logInFor(session, downstream, startUp.parameters, host)
    await relayed(session, startUp, downstream, upstream, host)
  } catch (error) {
    refuse(wire, toSallyportError(error), host)
  }
  // The session's end destroys its sockets: what was said must be on its way first.
  await closed(downstream, host)
}

async function relayed(
  session: Session,
  startUp: StartUp,
  downstream: Socket,
  upstream: LoggedIn,
  host: Host,
): Promise<void> {
  const conversation = converse(session, downstream, upstream, host)
  const { cancelKey } = upstream
  const cancel = async (): Promise<void> => {
    if (cancelKey !== undefined) await cancelUpstream(session, cancelKey, host)
  }
  const ownKey = session.onCancel(() => {
    void cancel()
  })
  session.opened((line) => conversation.notify(line))
  const welcome = welcomeFor(startUp, upstream, ownKey)
  session.countDownstream(welcome.length)
  downstream.write(welcome)
  const end = await conversation.run()
  sayEnd(session, end)
  conversation.farewell(end)
  await leave(session, upstream, conversation.observer, cancel, host)
  conversation.observer.finish()
}

/** Logs in, unless the client goes away or the session is cut meanwhile. */
async function logInFor(
  session: Session,
  downstream: Socket,
  parameters: ReadonlyMap<string, string>,
  host: Host,
): Promise<LoggedIn> {
  const gone = new AbortController()
  const onClose = (): void =>
    gone.abort(new SallyportError('protocol-violation', 'the client left during the login'))
  downstream.once('close', onClose)
  try {
    return await logIn(session, parameters, host, AbortSignal.any([gone.signal, session.signal]))
  } catch (error) {
    const left = gone.signal.aborted
    session.end(left ? 'client-closed' : 'upstream-failed', toSallyportError(error))
    throw session.signal.aborted ? cutError(session) : error
  } finally {
    downstream.off('close', onClose)
  }
}

/** AuthenticationOk and all that follows it up to the first ReadyForQuery, in one write. */
function welcomeFor(startUp: StartUp, upstream: LoggedIn, ownKey: Buffer): Buffer {
  return Buffer.concat([
    ...negotiation(startUp),
    authenticationOk,
    ...upstream.greetings,
    backendKeyData(ownKey),
    readyIdle,
  ])
}

function sayEnd(session: Session, end: RelayEnd): void {
  switch (end.side) {
    case 'client':
      session.end(end.error === undefined ? 'client-closed' : 'client-failed', end.error)
      break
    case 'resource':
      session.end(end.error === undefined ? 'upstream-closed' : 'upstream-failed', end.error)
      break
    default:
      if (!session.signal.aborted) session.end('client-failed', toSallyportError(end.error))
  }
}

function cutError(session: Session): SallyportError {
  const { message, hint, reason } = session.signal.reason as Cut
  return new SallyportError('access-denied', `cut during the login: ${reason}`, {
    clientMessage: message,
    hint,
  })
}

/**
 * All that the client sets at start-up, whole: a search_path says what later statements mean. The start-up packet's own limit
 * bounds it.
 */
function attributes(parameters: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries(parameters)
}

/** Tells the client why it is not let in, in this protocol's words. */
function refuse(wire: ClientWire, error: SallyportError, host: Host): void {
  host.log.info({ code: error.code, why: error.message }, 'connection refused')
  if (wire.mute || wire.socket.destroyed) wire.socket.destroy()
  else wire.socket.end(fatalResponse(error))
}

/** Resolves when the socket is gone; destroys it if the client does not take its leave in time. */
function closed(socket: Socket, host: Host): Promise<void> {
  if (socket.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    const deadline = host.clock.startTimer(host.limits.farewellMs, () => socket.destroy())
    socket.once('close', () => {
      deadline.cancel()
      resolve()
    })
    socket.resume()
  })
}
