/** A connection that names no resource: it carries others, one for each `<resource>.<domain>` that its client asks for. */
import type { Gate, Host } from '../../engine.ts'
import { ByteReader } from '../../kit/byte-reader.ts'
import { readSshString } from '../../kit/ssh-wire.ts'
import type { Cut } from '../../session.ts'
import { receive, type Login, type Serving } from '../downstream.ts'
import { disconnectReasons, openFailures } from '../wire.ts'
import { ChannelStream } from '../wire/channel-stream.ts'
import type { Opening } from '../wire/connection.ts'
import { resourceOfHost } from './route.ts'
import { tellChannel } from './told-channel.ts'

const hostBytesMax = 1_024

/** `serve` is what a connection inside of the jump is served by. */
export function serveJump(
  login: Login,
  gate: Gate,
  host: Host,
  serve: (inner: Login) => Serving,
): Serving {
  const { identity, transport, place } = login
  const inner = new Set<Promise<void>>()
  const wordsOf = ({ reason }: AbortSignal): string => {
    const { message, hint } = reason as Cut
    return `${message}. ${hint}`
  }
  const onRevoked = (): void => {
    transport.disconnect(disconnectReasons.byApplication, wordsOf(identity.signal))
  }
  // What is inside goes on to the end of its grant; who comes next has to sign in, on a connection of their own.
  const onExpired = (): void => {
    if (inner.size > 0) return
    transport.disconnect(disconnectReasons.byApplication, wordsOf(identity.expiry))
  }
  identity.signal.addEventListener('abort', onRevoked, { once: true })
  identity.expiry.addEventListener('abort', onExpired, { once: true })
  if (identity.signal.aborted) onRevoked()
  else if (identity.expiry.aborted) onExpired()

  const carry = async (opening: Opening, name: string, resource: string): Promise<void> => {
    const hostKeys = await host.hostKeys(name, identity).catch((error: unknown) => {
      host.log.warn({ error, name }, 'no host key')
      return undefined
    })
    if (transport.isOver) return
    if (hostKeys === undefined || hostKeys.length === 0) {
      const text = `there is no host key for ${name} at the moment; try again`
      opening.refuse(openFailures.connectFailed, text)
      return
    }
    const socket = new ChannelStream()
    socket.carriedBy(opening.accept(socket.handlers))
    const { remoteAddress, remotePort } = place
    const jump = { resource, identity }
    await receive(
      { socket, hostKeys, remoteAddress, remotePort, jump },
      ...[gate, host, serve, () => {}],
    )
  }

  return {
    begin() {},
    open(opening) {
      if (identity.expiry.aborted) {
        const text = `${wordsOf(identity.expiry)}, and connect anew`
        opening.refuse(openFailures.administrativelyProhibited, text)
        return
      }
      if (opening.type === 'session') {
        tellChannel(opening, howTo(host), 255)
        return
      }
      const destination =
        opening.type === 'direct-tcpip' ? destinationOf(opening.payload) : undefined
      const resource =
        destination === undefined ? undefined : resourceOfHost(destination, host.domain)
      if (resource === undefined) {
        const text = `only <resource>.${host.domain} can be reached from here`
        opening.refuse(openFailures.administrativelyProhibited, text)
        return
      }
      const carried = carry(opening, `${resource}.${host.domain}`, resource)
      inner.add(carried)
      void carried.finally(() => {
        inner.delete(carried)
        if (identity.expiry.aborted) onExpired()
      })
    },
    globalRequest: (_name, _payload, answer) => answer(false),
    async end() {
      identity.signal.removeEventListener('abort', onRevoked)
      identity.expiry.removeEventListener('abort', onExpired)
      await Promise.allSettled(inner)
    },
  }
}

/** RFC 4254, 7.2. Any port: a resource has its own. */
function destinationOf(payload: Buffer): string {
  return readSshString(new ByteReader(payload), hostBytesMax).toString('utf8')
}

function howTo({ domain }: Host): string {
  return [
    'Sallyport: you are signed in, and named no resource. Connect by its name:',
    '',
    `    ssh <resource>.${domain}        (once: sally ssh-config)`,
    `    ssh <account>~<resource>@${domain}`,
    '',
    'What there is: sally resources',
  ].join('\n')
}
