/** What happens under a session: its channels, tunnels and agent, from the admission to the cut. */
import type { Gate, Host } from '../engine.ts'
import { SallyportError, toSallyportError } from '../kit/errors.ts'
import type { Cut, Session } from '../session.ts'
import { wordsOf } from './downstream/authenticate.ts'
import { tellChannel } from './downstream/told-channel.ts'
import type { Login, Serving } from './downstream.ts'
import { AgentChannel } from './relay/agent.ts'
import { Drains } from './relay/flow.ts'
import { openLocalTunnel, refuseOpening, RemoteForwards } from './relay/forwards.ts'
import { SessionChannel } from './relay/session-channel.ts'
import { logIn, type LoggedIn } from './upstream.ts'
import { disconnectReasons, openFailures } from './wire.ts'
import type { Connection, ConnectionHandlers, Opening } from './wire/connection.ts'

/** What the channels of a session share. */
export interface Relayed {
  readonly session: Session
  readonly host: Host
  readonly downstream: Connection
  readonly upstream: Connection
  readonly drains: Drains
  /** The client asked for its agent on some channel, and may have it. */
  agentWanted: boolean
  /**
   * Runs what looks at bytes. What it throws ends the session, whichever side they came from; then it is false: they do not pass. A
   * `protocol-violation` is a cut.
   */
  guard(look: () => void): boolean
  /** Shows a line at every terminal, or at the first one to come. */
  tell(line: string): void
  /** Lines for the first terminal to come. */
  readonly untold: string[]
}

/** A channel of a session, as its end sees it. */
export interface RelayedChannel {
  /** Says a line where somebody sees it and no program reads it; false where nobody does. */
  notify(line: string): boolean
  /** Says why, and ends towards the client. */
  farewell(text: string): void
  /** Asks what runs at the resource to end by itself. */
  hangUp(): void
  /** Ends what still runs there. */
  kill(): void
  /** Settles what is not settled. */
  abandon(): void
}

/** Forwards that are asked for before the resource is there. */
const requestsMax = 100
/** Lines that wait for a terminal. */
const untoldMax = 20
const forwardRequests = new Set([
  ...['tcpip-forward', 'cancel-tcpip-forward'],
  ...['streamlocal-forward@openssh.com', 'cancel-streamlocal-forward@openssh.com'],
])

/** Asks for the session at once, so that it is there, or nearly, when the client opens its first channel. */
export function serveSession(login: Login, gate: Gate, host: Host): Serving {
  const { transport, place, resource, wanted } = login
  let downstream: Connection
  let relayed: Relayed | undefined
  let loggedIn: LoggedIn | undefined
  let forwards: RemoteForwards | undefined
  let isFailed = false
  const failed = Promise.withResolvers<SallyportError>()
  let refusal: string | undefined
  const waiting: Opening[] = []
  const requests: Parameters<ConnectionHandlers['globalRequest']>[] = []
  const channels = new Set<RelayedChannel>()
  const gone = new AbortController()
  const clientClosed = new Promise<void>((resolve) => {
    gone.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  let whole: Promise<void> = Promise.resolve()

  const serve = (opening: Opening): void => {
    if (refusal !== undefined) tellChannel(opening, refusal, 255)
    else if (relayed === undefined) waiting.push(opening)
    else openChannel(relayed, opening, channels)
  }
  const serveWaiting = (): void => {
    for (const [name, payload, answer] of requests.splice(0)) {
      if (forwards === undefined) answer(false)
      else forwards.request(name, payload, answer)
    }
    for (const opening of waiting.splice(0)) serve(opening)
  }
  const refuse = (error: SallyportError): void => {
    host.log.info({ code: error.code, why: error.message }, 'session refused')
    refusal = `sallyport: ${wordsOf(error)}`
    serveWaiting()
    // Who opens no channel that could say it is told by the connection's end.
    const timer = host.clock.startTimer(host.limits.handshakeMs, () =>
      transport.disconnect(disconnectReasons.byApplication, wordsOf(error)),
    )
    gone.signal.addEventListener('abort', () => timer.cancel(), { once: true })
  }

  /** What the resource opens: connections to where it was asked to listen, and the agent. */
  const fromUpstream: ConnectionHandlers = {
    open(opening) {
      if (opening.type === 'forwarded-tcpip' && forwards !== undefined) forwards.open(opening)
      else if (opening.type === 'auth-agent@openssh.com' && relayed?.agentWanted === true) {
        const channel: AgentChannel = new AgentChannel(relayed, gate, opening, () =>
          channels.delete(channel),
        )
        channels.add(channel)
      } else opening.refuse(openFailures.administrativelyProhibited, 'nobody asked for that')
    },
    globalRequest: (_name, _payload, answer) => answer(false),
    flooded: (isFlooded) => transport.hold(isFlooded),
  }
  const notify = (line: string): void => {
    for (const channel of channels) channel.notify(line)
  }

  const run = async (): Promise<void> => {
    await using session = await gate.admit({
      evidence: { kind: 'identity', identity: login.identity },
      protocol: 'ssh',
      resource,
      wanted,
      remoteAddress: place.remoteAddress,
      remotePort: place.remotePort,
      attributes: { client: transport.remoteVersion },
    })
    const detach = session.attach(place.socket)
    let upstream: LoggedIn
    try {
      upstream = await logIn(
        session,
        fromUpstream,
        host,
        AbortSignal.any([gone.signal, session.signal]),
      )
    } catch (error) {
      // The client is still to be told, on a channel that it opens by and by.
      detach()
      const left = gone.signal.aborted
      session.end(left ? 'client-closed' : 'upstream-failed', toSallyportError(error))
      throw session.signal.aborted ? cutError(session.signal.reason as Cut) : error
    }
    try {
      await converse(session, upstream)
    } finally {
      for (const channel of [...channels]) channel.abandon()
      upstream.leave()
      // The session's end destroys its sockets: what was said must be on its way first.
      await within(host, Promise.all([clientClosed, upstream.closed]))
    }
  }

  const converse = async (session: Session, upstream: LoggedIn): Promise<void> => {
    loggedIn = upstream
    const drains = new Drains()
    const untold: string[] = []
    session.onDrain((target) => drains.drained(target))
    session.opened(notify)
    relayed = {
      ...{ session, host, downstream, upstream: upstream.connection, drains, untold },
      agentWanted: false,
      guard(look) {
        if (isFailed) return false
        try {
          look()
        } catch (thrown) {
          isFailed = true
          const error = toSallyportError(thrown)
          host.log.warn({ code: error.code, why: error.message }, 'session ended')
          if (error.code === 'protocol-violation') session.violated(error)
          else failed.resolve(error)
        }
        return !isFailed
      },
      tell(line) {
        const told = [...channels].map((channel) => channel.notify(line))
        if (!told.includes(true) && untold.length < untoldMax) untold.push(line)
      },
    }
    forwards = new RemoteForwards(relayed, channels)
    serveWaiting()
    const end = await firstOf(gone.signal, session.signal, upstream.closed, failed.promise)
    if (end.side === 'proxy') {
      session.end('client-failed', end.error)
      await farewell(end.error.clientMessage, end.error.hint ?? '')
      return
    }
    if (end.side === 'cut') {
      const { message, hint } = session.signal.reason as Cut
      await farewell(message, hint)
      return
    }
    if (end.side === 'client') {
      session.end(end.error === undefined ? 'client-closed' : 'client-failed', end.error)
      return
    }
    session.end(end.error === undefined ? 'upstream-closed' : 'upstream-failed', end.error)
    transport.disconnect(disconnectReasons.byApplication, 'the resource closed the connection')
  }

  /** The client is told at once; what runs at the resource has half of the farewell to end by itself. */
  const farewell = async (message: string, hint: string): Promise<void> => {
    const text = `${message}. ${hint}`
    for (const channel of [...channels]) {
      channel.farewell(text)
      channel.hangUp()
    }
    await new Promise<void>((resolve) => {
      host.clock.startTimer(host.limits.farewellMs / 2, resolve)
    })
    for (const channel of [...channels]) channel.kill()
    // Not before: a client throws away what it has not shown yet when it is disconnected.
    transport.disconnect(disconnectReasons.byApplication, text)
  }

  return {
    begin(connection) {
      downstream = connection
      whole = run().catch((error: unknown) => refuse(toSallyportError(error)))
    },
    open: serve,
    globalRequest(name, payload, answer) {
      if (!forwardRequests.has(name) || refusal !== undefined) answer(false)
      else if (forwards !== undefined) forwards.request(name, payload, answer)
      else if (requests.length < requestsMax) requests.push([name, payload, answer])
      else answer(false)
    },
    flooded: (isFlooded) => loggedIn?.hold(isFlooded),
    async end(error) {
      gone.abort(new SallyportError('protocol-violation', 'the client left', { cause: error }))
      await whole
    },
  }
}

function openChannel(relayed: Relayed, opening: Opening, channels: Set<RelayedChannel>): void {
  if (opening.type === 'session') {
    const channel: SessionChannel = new SessionChannel(relayed, opening, () =>
      channels.delete(channel),
    )
    channels.add(channel)
    return
  }
  if (opening.type === 'direct-tcpip') openLocalTunnel(relayed, opening, channels)
  else refuseOpening(relayed, opening)
}

type End =
  | { readonly side: 'cut' }
  | { readonly side: 'proxy'; readonly error: SallyportError }
  | { readonly side: 'client' | 'upstream'; readonly error: Error | undefined }

function firstOf(
  gone: AbortSignal,
  cut: AbortSignal,
  upstreamClosed: Promise<Error | undefined>,
  failed: Promise<SallyportError>,
): Promise<End> {
  return new Promise((resolve) => {
    const onCut = (): void => resolve({ side: 'cut' })
    const onGone = (): void => {
      const { cause } = gone.reason as SallyportError
      resolve({ side: 'client', error: cause as Error | undefined })
    }
    if (cut.aborted) onCut()
    if (gone.aborted) onGone()
    cut.addEventListener('abort', onCut, { once: true })
    gone.addEventListener('abort', onGone, { once: true })
    void failed.then((error) => resolve({ side: 'proxy', error }))
    void upstreamClosed.then((error) => resolve({ side: 'upstream', error }))
  })
}

/** Waits, but no longer than a farewell may take. */
function within({ clock, limits }: Host, wait: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.startTimer(limits.farewellMs, resolve)
    void wait.then(() => {
      timer.cancel()
      resolve()
    })
  })
}

function cutError(cut: Cut): SallyportError {
  return new SallyportError('access-denied', `cut during the login: ${cut.reason}`, {
    clientMessage: cut.message,
    hint: cut.hint,
  })
}
