/** Connections to an app: TCP by the session, TLS as the resource demands, within the time that a connection has. */
import { isIP, type Socket } from 'node:net'
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import type { Host } from '../../engine.ts'
import { SallyportError } from '../../kit/errors.ts'
import type { Session } from '../../session.ts'
import { tlsFailed, uselessSecret } from './failures.ts'

/** What is offered in the handshake (RFC 7301); an app that picks nothing speaks HTTP/1.1. */
export type AppProtocol = 'http/1.1' | 'h2'

/** Opens one more. Rejects with `upstream-unreachable`, `upstream-tls`, `limit-reached`, `secret-unavailable` or `secret-not-bound`. */
export type ConnectApp = (protocol: AppProtocol) => Promise<Socket>

/** Connections of one session. A client certificate is borrowed for the first of them and then held as a TLS context. */
export function createConnectApp(session: Session, host: Host): ConnectApp {
  let context: Promise<SecureContext> | undefined

  const encrypt = async (socket: Socket, protocol: AppProtocol): Promise<Socket> => {
    try {
      context ??= secureContext(session)
      return await handshake(socket, session, protocol, await context)
    } catch (error) {
      context = undefined
      throw error
    }
  }

  return async (protocol) => {
    let opening: Socket | undefined
    const giveUp = (): void => void opening?.destroy()
    session.signal.addEventListener('abort', giveUp, { once: true })
    const late = Promise.withResolvers<never>()
    const deadline = host.clock.startTimer(host.limits.upstreamConnectMs, () => {
      late.reject(unanswered())
      opening?.destroy()
    })
    try {
      opening = await Promise.race([session.connect(), late.promise])
      session.signal.throwIfAborted()
      opening.setNoDelay(true)
      // Its owner is told in other ways; an error that nobody listens to would end the process.
      opening.on('error', () => {})
      if (session.upstream.tls === 'disable') return opening
      return await Promise.race([encrypt(opening, protocol), late.promise])
    } catch (error) {
      opening?.destroy()
      throw error
    } finally {
      session.signal.removeEventListener('abort', giveUp)
      deadline.cancel()
      late.promise.catch(() => {})
    }
  }
}

function unanswered(): SallyportError {
  return new SallyportError('upstream-unreachable', 'the connection to the app took too long', {
    clientMessage: 'the app cannot be reached',
    hint: 'Try again; if it happens again, tell the operator.',
  })
}

async function secureContext(session: Session): Promise<SecureContext> {
  const { caPem } = session.upstream
  const trust = {
    minVersion: 'TLSv1.2' as const,
    ...(caPem === undefined ? {} : { ca: caPem }),
  }
  if (session.http?.credential.kind !== 'client-certificate') return createSecureContext(trust)
  const { secret } = await session.borrow()
  try {
    const pem = secret.reveal()
    return createSecureContext({ ...trust, cert: pem, key: pem })
  } catch {
    // What OpenSSL says of a key is not for the log.
    throw uselessSecret('not a certificate with its key, in PEM')
  } finally {
    secret.drop()
  }
}

function handshake(
  socket: Socket,
  { upstream }: Session,
  protocol: AppProtocol,
  secureContext: SecureContext,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const encrypted = connect({
      ...{ socket, secureContext },
      host: upstream.serverName,
      // Server names of TLS are names: an address is verified, but not sent.
      servername: isIP(upstream.serverName) === 0 ? upstream.serverName : '',
      ALPNProtocols: [protocol],
      rejectUnauthorized: upstream.tls === 'verify-full',
    })
    const fail = (why: string, cause?: Error): void => {
      encrypted.destroy()
      reject(tlsFailed(why, cause))
    }
    encrypted.on('error', (error) => fail(error.message, error))
    encrypted.once('close', () => fail('connection closed during the handshake'))
    encrypted.once('secureConnect', () => {
      if (protocol === 'h2' && encrypted.alpnProtocol !== 'h2') fail('the app has no HTTP/2')
      else resolve(encrypted)
    })
  })
}
