import { createHash } from 'node:crypto'
import { isIP, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { connect } from 'node:tls'
import { serialize } from 'pg-protocol'
import { SallyportError } from '../../kit/errors.ts'
import type { Upstream } from '../../session.ts'
import { Inbox } from '../wire/inbox.ts'

/** Everything that must end a handshake early makes these sockets fail. */
export type Abort = (fail: (error: Error) => void) => void

/**
 * Encrypts a fresh socket to a server as the resource demands. Under `disable` it returns the socket itself.
 * Rejects with `upstream-tls`.
 */
export async function encrypt(socket: Socket, upstream: Upstream, abort: Abort): Promise<Socket> {
  if (upstream.tls === 'disable') return socket
  const inbox = new Inbox(socket)
  abort((error) => inbox.fail(error))
  socket.write(serialize.requestSsl())
  const answer = await inbox.take((buffer) => (buffer.length === 0 ? undefined : 1))
  const rest = inbox.bufferedBytes
  inbox.release()
  if (answer[0] !== 0x53) {
    throw failed(`${upstream.host}:${upstream.port} does not offer TLS`)
  }
  // Bytes in front of the handshake would be taken for encrypted ones (CVE-2021-23222).
  if (rest > 0) throw failed('unencrypted bytes after the answer to SSLRequest')
  return await handshake(socket, upstream, abort)
}

function handshake(socket: Socket, upstream: Upstream, abort: Abort): Promise<TLSSocket> {
  const verifies = upstream.tls === 'verify-full'
  return new Promise((resolve, reject) => {
    const encrypted = connect({
      socket,
      host: upstream.serverName,
      // Server names of TLS are names: an address is verified, but not sent.
      servername: isIP(upstream.serverName) === 0 ? upstream.serverName : '',
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['postgresql'],
      rejectUnauthorized: verifies,
      ...(upstream.caPem === undefined ? {} : { ca: upstream.caPem }),
    })
    const onError = (error: Error): void => {
      encrypted.destroy()
      reject(failed(error.message, error))
    }
    const onClose = (): void => reject(failed('connection closed during the TLS handshake'))
    abort(onError)
    encrypted.once('error', onError)
    encrypted.once('close', onClose)
    encrypted.once('secureConnect', () => {
      encrypted.off('error', onError)
      encrypted.off('close', onClose)
      encrypted.on('error', () => {})
      resolve(encrypted)
    })
  })
}

/**
 * The hash of the server's certificate for channel binding, by the hash of its own signature (SHA-256 for MD5 and
 * SHA-1). Undefined where there is no such hash (Ed25519, RSA-PSS).
 */
export function serverEndPoint(socket: TLSSocket): Buffer | undefined {
  const certificate = socket.getPeerX509Certificate()
  const algorithm = certificate?.signatureAlgorithm?.toLowerCase()
  if (certificate === undefined || algorithm === undefined) return undefined
  const hash = /^(?:ecdsa-with-|)(sha(?:1|224|256|384|512)|md5)(?:withrsaencryption|)$/.exec(
    algorithm,
  )?.[1]
  if (hash === undefined) return undefined
  const strong = hash === 'sha1' || hash === 'md5' ? 'sha256' : hash
  return createHash(strong).update(certificate.raw).digest()
}

function failed(why: string, cause?: Error): SallyportError {
  return new SallyportError('upstream-tls', `TLS to the resource: ${why}`, {
    clientMessage: 'no secure connection to the resource could be made',
    hint: 'The operator can see the cause in the log.',
    cause,
  })
}
