/**
 * SSH 2. One connection, from first byte to last:
 *
 *     client                         proxy                                    resource
 *     version, KEXINIT, …        ⇄   host key of the domain
 *     none, publickey            →   gate.recognises; a signature: gate.identify
 *     keyboard-interactive       →   gate.signIn: a link and a code, then it waits
 *     SUCCESS                    ←
 *
 *  as `account~resource`, or inside of a jump:
 *                                    gate.admit → Session, or a text on the first channel
 *                                    session.connect                    →    TCP
 *                                    version, KEXINIT, …                ⇄    host key that the resource names
 *                                    certificate, key or password       →    borrowed, dropped
 *                                    session.opened
 *     open session               →                                      →    open session
 *     pty-req, env, shell, exec  →   record, then forward               →
 *     data, eof, signal          →                                      →
 *                                ←   recorded, observed                 ←    data, exit-status
 *     text, exit-signal, CLOSE   ←   cut: signals, CLOSE, DISCONNECT    →
 *
 *  otherwise it is a jump:
 *     direct-tcpip to            →   another connection, inside of the channel, with a host key
 *     <resource>.<domain>            for just that name, by whom signed in here
 *
 * Sources: RFC 4250–4256, 8308, 8332; PROTOCOL, PROTOCOL.certkeys, PROTOCOL.agent of OpenSSH.
 */
import type { Engine } from '../engine.ts'
import { receive, type Login, type Serving } from './downstream.ts'
import { serveJump } from './downstream/jump.ts'
import { serveSession } from './relay.ts'
import { isNativeCryptoLoaded, libraryReady } from './wire/library.ts'

export const ssh: Engine = {
  name: 'ssh',
  defaultPort: 2222,

  async serve(connection, gate, host) {
    connection.setNoDelay(true)
    connection.on('error', () => {})
    const handshakeDone = (): void => host.handshakeDone(connection)
    await libraryReady
    const hostKeys = await host.hostKeys(host.domain).catch((error: unknown) => {
      host.log.error({ error }, 'no host key of the domain')
      return undefined
    })
    if (hostKeys === undefined || hostKeys.length === 0) {
      handshakeDone()
      connection.destroy()
      return
    }
    const serveInner = (login: Login): Serving => serveSession(login, gate, host)
    const serveOuter = (login: Login): Serving =>
      login.resource === undefined
        ? serveJump(login, gate, host, serveInner)
        : serveSession(login, gate, host)
    const place = {
      socket: connection,
      hostKeys,
      remoteAddress: connection.remoteAddress ?? '',
      remotePort: connection.remotePort ?? 0,
      jump: undefined,
    }
    await receive(place, gate, host, serveOuter, handshakeDone)
  },

  shortcoming: () =>
    isNativeCryptoLoaded()
      ? undefined
      : 'SSH runs without the native binding of ssh2, at about half its speed (apt-get install g++; npm start builds it)',
}
