/**
 * The client's side up to its first request: TLS with the version of HTTP agreed by ALPN (RFC 7301), or some words for who comes in the
 * clear.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Host } from '../engine.ts'
import { SallyportError } from '../kit/errors.ts'
import { answerPlaintext } from './downstream/plaintext.ts'

/** First byte of a TLS record that holds a handshake. */
const tlsHandshakeByte = 0x16

export interface Greeted {
  readonly socket: TLSSocket
  readonly version: '1.1' | '2'
  /** Server name of TLS, lower case; undefined: the client sent none. */
  readonly serverName: string | undefined
  /** Leaf in DER, from a handshake that proved its key. */
  readonly certificate: Buffer | undefined
}

/**
 * Resolves to undefined for who came in the clear and was told so. Rejects with `handshake-timeout` or `protocol-violation`; then there is
 * nobody to talk to.
 */
export async function greet(connection: Socket, host: Host): Promise<Greeted | undefined> {
  const encrypted: { socket?: TLSSocket } = {}
  const late = new SallyportError('handshake-timeout', 'no TLS handshake in time')
  const { promise, reject } = Promise.withResolvers<never>()
  const deadline = host.clock.startTimer(host.limits.handshakeMs, () => reject(late))
  try {
    return await Promise.race([greetInTime(connection, host, encrypted), promise])
  } catch (error) {
    encrypted.socket?.destroy()
    connection.destroy()
    throw error
  } finally {
    deadline.cancel()
  }
}

async function greetInTime(
  connection: Socket,
  host: Host,
  encrypted: { socket?: TLSSocket },
): Promise<Greeted | undefined> {
  const first = await firstBytes(connection)
  if (first[0] !== tlsHandshakeByte) {
    await answerPlaintext(connection, first, host)
    return undefined
  }
  connection.unshift(first)
  const socket = startTls(connection, host)
  encrypted.socket = socket
  await handshake(socket)
  // HTTP/2 waits for what only a tls.Server would say; Node has no other word for it.
  Object.assign(socket, { secureConnecting: false })
  const serverName = typeof socket.servername === 'string' ? socket.servername : undefined
  return {
    socket,
    version: socket.alpnProtocol === 'h2' ? '2' : '1.1',
    serverName: serverName?.toLowerCase(),
    certificate: socket.getPeerX509Certificate()?.raw,
  }
}

/** What comes first; the socket is paused again after it. */
function firstBytes(connection: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const onClose = (): void =>
      reject(new SallyportError('protocol-violation', 'closed before a byte was sent'))
    connection.once('close', onClose)
    connection.once('data', (chunk: Buffer) => {
      connection.pause()
      connection.off('close', onClose)
      resolve(chunk)
    })
    connection.resume()
  })
}

/** The client's certificate is asked for here and judged by the gate. No tickets: see `Host.tlsContext`. */
function startTls(connection: Socket, host: Host): TLSSocket {
  const context = host.tlsContext(undefined)
  const encrypted = new TLSSocket(connection, {
    isServer: true,
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2', 'http/1.1'],
    ...(context === undefined ? {} : { secureContext: context }),
    SNICallback: (name, done) => {
      const named = host.tlsContext(name.toLowerCase())
      if (named === undefined) done(new Error('server name outside of the domain'))
      else done(null, named)
    },
  })
  encrypted.disableRenegotiation()
  return encrypted
}

/** Resolves once the handshake is done; whatever ends it otherwise rejects. */
function handshake(socket: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    // A late error has nobody to tell, but must not be thrown.
    socket.on('error', () => {})
    const fail = (why: string) => (): void =>
      reject(new SallyportError('protocol-violation', `TLS handshake with the client: ${why}`))
    socket.once('secure', () => resolve())
    // A server's socket that no tls.Server owns tells of a failed handshake only so.
    socket.once('_tlsError', (error: Error) => fail(error.message)())
    socket.once('error', (error) => fail(error.message)())
    socket.once('close', fail('connection closed'))
  })
}
