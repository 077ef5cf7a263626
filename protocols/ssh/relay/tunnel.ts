/** One forwarded connection (RFC 4254, chapter 7) to or from a destination that the resource declares. */
import type { OutcomeStatus } from '../../activity.ts'
import { toSallyportError } from '../../kit/errors.ts'
import type { Tunnel } from '../../session.ts'
import type { ChannelObserver } from '../observe/channel-observer.ts'
import { observeTunnel } from '../observe/sniff.ts'
import type { Relayed, RelayedChannel } from '../relay.ts'
import type { Channel, ChannelHandlers } from '../wire/channel.ts'
import type { Opening } from '../wire/connection.ts'
import { ChannelRecord } from './channel-record.ts'
import { Flow } from './flow.ts'

export interface Destination {
  readonly host: string
  readonly port: number
}

/** The declared tunnel to a destination, if there is one. Names are compared, never resolved: what they mean is the resource's matter. */
export function declaredTunnel(
  relayed: Relayed,
  direction: Tunnel['direction'],
  { host, port }: Destination,
): Tunnel | undefined {
  return relayed.session.ssh?.tunnels.find(
    (tunnel) => tunnel.direction === direction && tunnel.host === host && tunnel.port === port,
  )
}

/** Writes down that something was wanted and not given. */
export function reportRefused(relayed: Relayed, operation: string, target: string): void {
  new ChannelRecord(relayed, { kind: 'channel', operation, channel: 0, target }).refuse()
}

/** Why, and who can help: in the one place that OpenSSH shows for a refused -L. */
export function tunnelRefusal({ session }: Relayed, target: string): string {
  const { resource, level } = session.labels
  return (
    `${resource} declares no tunnel to ${target} at level ${level}; ` +
    'connect to that host as a resource of its own (sally resources), or ask an admin to declare it'
  )
}

export class TunnelChannel implements RelayedChannel {
  readonly #relayed: Relayed
  readonly #over: () => void
  readonly #record: ChannelRecord
  readonly #observer: ChannelObserver
  #flow: Flow | undefined
  #isLeaving = false

  /** `opening` is the client's for a local tunnel, the resource's for a remote one; the other side is asked for its half. */
  constructor(
    relayed: Relayed,
    tunnel: Tunnel,
    opening: Opening,
    target: string,
    over: () => void,
  ) {
    const { session, upstream, downstream } = relayed
    this.#relayed = relayed
    this.#over = over
    const operation = `tunnel-${tunnel.direction}`
    this.#record = new ChannelRecord(relayed, { kind: 'channel', operation, channel: 0, target })
    const isLocal = tunnel.direction === 'local'
    const observer = observeTunnel(tunnel.carries, target)
    // Who dials speaks as a client does: at a port that the resource listens on, that is the resource.
    this.#observer = isLocal ? observer : turnedRound(observer)
    const [mine, theirs] = isLocal
      ? [this.#fromClient, this.#fromUpstream]
      : [this.#fromUpstream, this.#fromClient]
    const open = (): void =>
      (isLocal ? upstream : downstream).open(opening.type, opening.payload, {
        handlers: theirs,
        opened: (channel) => {
          const accepted = opening.accept(mine)
          if (isLocal) this.#join(accepted, channel)
          else this.#join(channel, accepted)
        },
        refused: ({ reason, text }) => {
          opening.refuse(reason, text)
          this.#record.outcome.errorText = text
          this.#settle('error')
        },
      })
    if (isLocal) session.forwardCall(open)
    else open()
  }

  /** Nobody reads a tunnel. */
  notify(): boolean {
    return false
  }

  /** Stays open towards the client: the connection's end has room for words, and the end of a channel has none. */
  farewell(): void {
    this.#isLeaving = true
    this.#settleCut()
  }

  hangUp(): void {
    this.#flow?.upstream.closeNow()
  }

  kill(): void {
    this.hangUp()
  }

  abandon(): void {
    this.#settleCut()
    this.#flow?.upstream.closeNow()
    this.#flow?.end()
  }

  #join(client: Channel, upstream: Channel): void {
    const { session, drains } = this.#relayed
    this.#flow = new Flow(session, drains, client, upstream)
  }

  readonly #fromClient: ChannelHandlers = {
    data: (bytes) => {
      const passes = this.#look(() => this.#observer.fromClient(bytes))
      if (passes && !this.#record.isSettled) this.#flow?.up(bytes)
    },
    eof: () => this.#flow?.eofUp(),
    closed: () => {
      this.#flow?.closeUp()
      this.#flow?.client.closeNow()
    },
    drained: () => this.#flow?.clientDrained(),
    request: (_type, wantsReply) => {
      if (wantsReply) this.#flow?.client.reserveReply()(false)
    },
  }

  readonly #fromUpstream: ChannelHandlers = {
    data: (bytes, extended) => {
      const passes = this.#look(() => this.#observer.fromUpstream(bytes))
      if (passes && !this.#record.isSettled) this.#flow?.down(bytes, extended)
    },
    eof: () => this.#flow?.client.eof(),
    closed: () => {
      this.#settle('ok')
      this.#flow?.upstream.closeNow()
      if (!this.#isLeaving) this.#flow?.client.close()
    },
    drained: () => this.#flow?.upstreamDrained(),
    request: (_type, wantsReply) => {
      if (wantsReply) this.#flow?.upstream.reserveReply()(false)
    },
  }

  /** What ends the session is said of this tunnel too. */
  #look(look: () => void): boolean {
    return this.#relayed.guard(() => {
      try {
        look()
      } catch (thrown) {
        const error = toSallyportError(thrown)
        this.#record.outcome.errorCode = error.code
        this.#record.outcome.errorText = error.clientMessage
        throw error
      }
    })
  }

  #settleCut(): void {
    this.#settle(this.#record.outcome.errorCode === '' ? 'cancelled' : 'error')
  }

  #settle(status: OutcomeStatus): void {
    if (this.#record.isSettled) return
    this.#observer.end()
    this.#record.settle(status, this.#flow)
    this.#flow?.end()
    this.#over()
  }
}

function turnedRound(observer: ChannelObserver): ChannelObserver {
  return {
    fromClient: (bytes) => observer.fromUpstream(bytes),
    fromUpstream: (bytes) => observer.fromClient(bytes),
    end: () => observer.end(),
  }
}
