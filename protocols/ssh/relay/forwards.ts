/** Port forwarding (RFC 4254, chapter 7): refused, unless the resource declares the destination for the level. */
import { ByteReader } from '../../kit/byte-reader.ts'
import { readSshString } from '../../kit/ssh-wire.ts'
import type { Relayed, RelayedChannel } from '../relay.ts'
import { openFailures } from '../wire.ts'
import type { Opening } from '../wire/connection.ts'
import {
  declaredTunnel,
  reportRefused,
  TunnelChannel,
  tunnelRefusal,
  type Destination,
} from './tunnel.ts'

const hostBytesMax = 1_024
const pathBytesMax = 4_096
/** As OpenSSH's -R names them: all interfaces, or the loopback. */
const listenNames: Readonly<Record<string, string>> = { '': '*', '0.0.0.0': '*', '::': '*' }

/** A client's -L or -D. */
export function openLocalTunnel(
  relayed: Relayed,
  opening: Opening,
  channels: Set<RelayedChannel>,
): void {
  const destination = readDestination(opening.payload)
  const target = nameOf(destination)
  const tunnel = declaredTunnel(relayed, 'local', destination)
  if (tunnel === undefined) {
    reportRefused(relayed, 'tunnel-local', target)
    opening.refuse(openFailures.administrativelyProhibited, tunnelRefusal(relayed, target))
    return
  }
  const channel: TunnelChannel = new TunnelChannel(relayed, tunnel, opening, target, () =>
    channels.delete(channel),
  )
  channels.add(channel)
}

/** Other things that a client would open: a socket of a file, a network device. */
export function refuseOpening(relayed: Relayed, opening: Opening): void {
  const { type, payload } = opening
  const isFile = type === 'direct-streamlocal@openssh.com'
  const target = isFile ? readPath(payload) : type
  reportRefused(relayed, isFile ? 'tunnel-local' : type, target)
  const text = isFile
    ? tunnelRefusal(relayed, target)
    : `${type} is not possible through this proxy`
  opening.refuse(openFailures.administrativelyProhibited, text)
}

/** A client's -R: what the resource is asked to listen on. */
export class RemoteForwards {
  readonly #relayed: Relayed
  readonly #channels: Set<RelayedChannel>
  readonly #listening = new Set<string>()

  constructor(relayed: Relayed, channels: Set<RelayedChannel>) {
    this.#relayed = relayed
    this.#channels = channels
  }

  /** `tcpip-forward` or `cancel-tcpip-forward`; and what OpenSSH has for sockets of files, which is always refused. */
  request(name: string, payload: Buffer, answer: (granted: boolean, payload?: Buffer) => void) {
    const { session, upstream } = this.#relayed
    if (name.includes('streamlocal')) {
      if (name.startsWith('streamlocal')) this.#refuse(readPath(payload))
      answer(false)
      return
    }
    const wanted = readListener(payload)
    const target = nameOf(wanted)
    const isCancel = name === 'cancel-tcpip-forward'
    if (isCancel && !this.#listening.has(target)) {
      answer(false)
      return
    }
    if (declaredTunnel(this.#relayed, 'remote', wanted) === undefined) {
      this.#refuse(target)
      answer(false)
      return
    }
    session.forwardCall(() =>
      upstream.globalRequest(name, payload, (granted, given) => {
        if (granted && isCancel) this.#listening.delete(target)
        else if (granted) this.#listening.add(target)
        answer(granted, given)
      }),
    )
  }

  #refuse(target: string): void {
    reportRefused(this.#relayed, 'tunnel-remote', target)
    // The refusal itself has no room for words.
    this.#relayed.tell(tunnelRefusal(this.#relayed, target))
  }

  /** A connection to where the resource listens. */
  open(opening: Opening): void {
    const wanted = readListener(opening.payload)
    const target = nameOf(wanted)
    const tunnel = declaredTunnel(this.#relayed, 'remote', wanted)
    if (tunnel === undefined || !this.#listening.has(target)) {
      opening.refuse(openFailures.administrativelyProhibited, 'nobody asked for that')
      return
    }
    const channel: TunnelChannel = new TunnelChannel(
      ...([this.#relayed, tunnel, opening, target, () => this.#channels.delete(channel)] as const),
    )
    this.#channels.add(channel)
  }
}

function readDestination(payload: Buffer): Destination {
  const reader = new ByteReader(payload)
  const name = readSshString(reader, hostBytesMax).toString('utf8')
  // Other letters have lower cases among these (the sign of Kelvin): what passes is what was declared.
  const host = name.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())
  return { host, port: reader.u32() }
}

/** PROTOCOL of OpenSSH, 2.4: the path comes first. */
function readPath(payload: Buffer): string {
  return readSshString(new ByteReader(payload), pathBytesMax).toString('utf8')
}

function readListener(payload: Buffer): Destination {
  const { host, port } = readDestination(payload)
  return { host: listenNames[host] ?? host, port }
}

function nameOf({ host, port }: Destination): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
