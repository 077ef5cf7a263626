import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { serialize } from 'pg-protocol'
import { SallyportError } from '../../kit/errors.ts'
import type { Credential } from '../../session.ts'
import { backend, message } from '../wire.ts'
import type { LoginReader } from './login-reader.ts'
import { refusedLogin } from './refused.ts'
import type { ChannelBinding } from './scram.ts'
import { startScram } from './scram.ts'
import { serverEndPoint } from './tls.ts'

/** Codes of the authentication message. */
const requests = {
  ok: 0,
  cleartextPassword: 3,
  md5Password: 5,
  sasl: 10,
  saslContinue: 11,
  saslFinal: 12,
} as const

const passwordType = 0x70 // p

/**
 * Answers the server's demands up to AuthenticationOk. SCRAM goes over any connection, because it gives nothing away; md5 and
 * cleartext only where `verified` says that the server's identity is certain. Rejects with `upstream-login`.
 */
export async function authenticate(
  socket: Socket,
  reader: LoginReader,
  credential: Credential,
  verified: boolean,
): Promise<void> {
  for (let proven = false; ; proven = true) {
    const { code, body } = await nextRequest(reader)
    if (code === requests.ok) return
    if (proven) throw refusedByUs(`a second demand (${code}) after the login`)
    switch (code) {
      case requests.sasl:
        await scram(socket, reader, credential, body, verified)
        break
      case requests.md5Password:
        if (!verified) throw unverified('md5')
        if (body.length !== 4) throw refusedByUs('an md5 demand without its salt')
        sendPassword(socket, md5Response(credential, body))
        break
      case requests.cleartextPassword:
        if (!verified) throw unverified('cleartext')
        sendPassword(socket, credential.secret.reveal())
        break
      default:
        throw refusedByUs(`a way of authentication that is not spoken here (${code})`)
    }
  }
}

async function nextRequest(reader: LoginReader): Promise<{ code: number; body: Buffer }> {
  for (;;) {
    const { type, whole } = await reader.next()
    if (type === backend.error) throw refusedLogin(whole)
    if (type === backend.notice) continue
    if (type !== backend.authentication || whole.length < 9) {
      throw refusedByUs(`message 0x${type.toString(16)} amid the login`)
    }
    return { code: whole.readUInt32BE(5), body: whole.subarray(9) }
  }
}

async function scram(
  socket: Socket,
  reader: LoginReader,
  credential: Credential,
  body: Buffer,
  verified: boolean,
): Promise<void> {
  const offered = body.toString('latin1').split('\0')
  const exchange = startScram(channelBinding(socket, offered, verified))
  if (!offered.includes(exchange.mechanism)) {
    throw refusedByUs(`no SASL mechanism that is spoken here (${offered.join(' ').trim()})`)
  }
  socket.write(serialize.sendSASLInitialResponseMessage(exchange.mechanism, exchange.clientFirst))
  const first = await nextRequest(reader)
  if (first.code !== requests.saslContinue) throw refusedByUs('SCRAM broken off')
  const response = await exchange.respond(first.body.toString('utf8'), credential.secret.reveal())
  socket.write(serialize.sendSCRAMClientFinalMessage(response))
  const final = await nextRequest(reader)
  if (final.code !== requests.saslFinal) throw refusedByUs('no proof of the server')
  exchange.verify(final.body.toString('utf8'))
}

/** Binds the login to the TLS connection where the server offers it and its certificate was verified. */
function channelBinding(
  socket: Socket,
  offered: readonly string[],
  verified: boolean,
): ChannelBinding {
  if (!(socket instanceof TLSSocket) || !verified) return { kind: 'none' }
  const hash = serverEndPoint(socket)
  if (hash === undefined) return { kind: 'none' }
  if (!offered.includes('SCRAM-SHA-256-PLUS')) return { kind: 'not-offered' }
  return { kind: 'tls-server-end-point', hash }
}

/** `md5` and the hex of MD5(hex of MD5(password, account), salt). */
function md5Response(credential: Credential, salt: Buffer): string {
  const inner = createHash('md5')
    .update(credential.secret.reveal())
    .update(credential.account)
    .digest('hex')
  return `md5${createHash('md5').update(inner).update(salt).digest('hex')}`
}

/** Our own, because the serializer of the library would keep the password in its buffer. */
function sendPassword(socket: Socket, password: string): void {
  const packet = message(passwordType, Buffer.from(`${password}\0`))
  socket.write(packet, () => packet.fill(0))
}

function unverified(what: string): SallyportError {
  return refusedByUs(`the server demands the password in ${what}, which goes over verify-full only`)
}

function refusedByUs(why: string): SallyportError {
  return new SallyportError('upstream-login', `login at the resource: ${why}`, {
    clientMessage: 'the proxy refused to log in at the resource',
    hint: 'The operator can see the cause in the log.',
  })
}
