/**
 * The client's side up to the start-up packet: TLS, what the client showed of itself, and what it asks for.
 *
 * Source: PostgreSQL documentation, "Message Flow": "SSL Session Encryption", "Canceling Requests in Progress".
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Evidence, Host } from '../engine.ts'
import { SallyportError } from '../kit/errors.ts'
import { takePassword } from './downstream/password.ts'
import { nameResource } from './downstream/route.ts'
import { authenticationCleartextPassword, negotiateVersion } from './wire.ts'
import { Inbox } from './wire/inbox.ts'
import type { StartupPacket } from './wire/startup.ts'
import { readStartupPacket, startupPacketBytes, tlsHandshakeByte } from './wire/startup.ts'

/** Refused encryption requests before the client must have made up its mind. */
const refusalsMax = 2
const alpnProtocol = 'postgresql'

export interface StartUp {
  readonly kind: 'startup'
  readonly evidence: Evidence
  /** Resource name, lower case. */
  readonly resource: string
  /** Level or account, or ''. */
  readonly wanted: string
  readonly minorVersion: number
  readonly parameters: ReadonlyMap<string, string>
  /** `negotiation` was sent already. */
  readonly negotiated: boolean
}

export type Greeting = StartUp | { readonly kind: 'cancel'; readonly key: Buffer }

/** NegotiateProtocolVersion for a client that asked for more than is spoken here; the first thing it is told. */
export function negotiation({
  minorVersion,
  parameters,
  negotiated,
}: Pick<StartUp, 'minorVersion' | 'parameters' | 'negotiated'>): Buffer[] {
  const unknown = [...parameters.keys()].filter((name) => name.startsWith('_pq_.'))
  const needed = !negotiated && (minorVersion > 0 || unknown.length > 0)
  return needed ? [negotiateVersion(unknown)] : []
}

/** Where an answer to the client goes: the socket it came on, and after TLS the one above it. */
export interface ClientWire {
  socket: Socket
  /** Nothing that we could say would be understood: TLS was not finished. */
  mute: boolean
}

/**
 * Greets a client up to its start-up packet or cancel request. `wire.socket` becomes the encrypted socket. Rejects
 * with `plaintext-refused`, `protocol-violation`, `unsupported-feature`, `handshake-timeout`,
 * `name-missing` or `name-conflict`.
 */
export async function greet(wire: ClientWire, host: Host): Promise<Greeting> {
  let inbox = new Inbox(wire.socket)
  let encrypting: TLSSocket | undefined
  const deadline = host.clock.startTimer(host.limits.handshakeMs, () => {
    inbox.fail(
      new SallyportError('handshake-timeout', 'the client did not finish its handshake in time', {
        clientMessage: 'the handshake took too long',
        hint: 'Connect again; if it happens again, look for a slow network between you and the proxy.',
      }),
    )
    encrypting?.destroy()
  })
  try {
    const before = await readBeforeTls(wire.socket, inbox, host)
    if (before.kind === 'cancel') return before
    inbox.release()
    wire.mute = true
    encrypting = startTls(wire.socket, host)
    await handshake(encrypting)
    wire.socket = encrypting
    wire.mute = false
    checkTls(encrypting, before.kind === 'direct')
    inbox = new Inbox(encrypting)
    const packet = await readPacket(inbox, host)
    if (packet.kind === 'cancel') return packet
    if (packet.kind !== 'startup') {
      throw new SallyportError('protocol-violation', `${packet.kind} request inside TLS`, {
        clientMessage: 'encryption is on already',
      })
    }
    const started = startUp(packet, encrypting, host)
    if (started.evidence.kind !== 'none') return started
    // The answer is within the same deadline.
    encrypting.write(Buffer.concat([...negotiation(started), authenticationCleartextPassword]))
    return { ...started, evidence: await takePassword(inbox), negotiated: true }
  } finally {
    deadline.cancel()
    inbox.release()
  }
}

type BeforeTls =
  | { readonly kind: 'cancel'; readonly key: Buffer }
  | { readonly kind: 'requested' }
  | { readonly kind: 'direct' }

async function readBeforeTls(socket: Socket, inbox: Inbox, host: Host): Promise<BeforeTls> {
  for (let refusals = 0; refusals <= refusalsMax; refusals++) {
    await inbox.take((buffer) => (buffer.length === 0 ? undefined : 0))
    if (inbox.firstByte === tlsHandshakeByte) return { kind: 'direct' }
    const packet = await readPacket(inbox, host)
    switch (packet.kind) {
      case 'cancel':
        return packet
      case 'startup':
        throw plaintextRefused()
      case 'ssl':
        // Bytes in front of the handshake would be taken for encrypted ones (CVE-2021-23214).
        if (inbox.bufferedBytes > 0) throw bytesAfterRequest()
        socket.write('S')
        return { kind: 'requested' }
      default:
        if (inbox.bufferedBytes > 0) throw bytesAfterRequest()
        socket.write('N')
    }
  }
  throw new SallyportError('protocol-violation', 'too many requests for GSS encryption', {
    clientMessage: 'GSS encryption is not available here',
    hint: 'Set gssencmode=disable and sslmode=verify-full.',
  })
}

async function readPacket(inbox: Inbox, host: Host): Promise<StartupPacket> {
  const packet = await inbox.take((buffer) =>
    startupPacketBytes(buffer, host.limits.startupBytesMax),
  )
  return readStartupPacket(packet)
}

function plaintextRefused(): SallyportError {
  return new SallyportError('plaintext-refused', 'start-up without TLS', {
    clientMessage: 'this proxy takes encrypted connections only',
    hint:
      'Set sslmode=verify-full, sslrootcert, sslcert and sslkey; ' +
      '`sally connect` runs your client with all of them set.',
  })
}

function bytesAfterRequest(): SallyportError {
  return new SallyportError('protocol-violation', 'bytes after a request for encryption', {
    clientMessage: 'received unencrypted data after SSL request',
    hint: 'This could be a faulty client, or somebody on the network who changes what you send.',
  })
}

/** Stacks TLS on the socket natively. The client's certificate is asked for here and judged by the gate. */
function startTls(socket: Socket, host: Host): TLSSocket {
  const context = host.tlsContext(undefined)
  const encrypted = new TLSSocket(socket, {
    isServer: true,
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: [alpnProtocol],
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
    const settle = (run: () => void) => (): void => {
      socket.off('secure', onSecure)
      socket.off('_tlsError', onError)
      socket.off('error', onError)
      socket.off('close', onClose)
      // A late error has nobody to tell, but must not be thrown.
      socket.on('error', () => {})
      run()
    }
    const fail = (why: string): void =>
      reject(new SallyportError('protocol-violation', `TLS handshake with the client: ${why}`))
    const onSecure = settle(resolve)
    const onError = (error: Error): void => settle(() => fail(error.message))()
    const onClose = settle(() => fail('connection closed'))
    socket.on('secure', onSecure)
    // A server's socket that no tls.Server owns tells of a failed handshake only so.
    socket.on('_tlsError', onError)
    socket.on('error', onError)
    socket.on('close', onClose)
  })
}

function checkTls(socket: TLSSocket, direct: boolean): void {
  const version = socket.getProtocol()
  if (version !== 'TLSv1.3' && version !== 'TLSv1.2') {
    throw new SallyportError('protocol-violation', `TLS version ${String(version)}`, {
      clientMessage: 'TLS 1.2 or newer is required',
      hint: 'Use a newer client.',
    })
  }
  // Without it, bytes of another protocol could be made to look like ours (ALPACA).
  if (direct && socket.alpnProtocol !== alpnProtocol) {
    throw new SallyportError('protocol-violation', 'direct TLS without ALPN', {
      clientMessage: 'direct TLS needs the ALPN protocol "postgresql"',
      hint: 'Set sslnegotiation=postgres, or use a client that sends ALPN.',
    })
  }
}

function startUp(
  packet: StartupPacket & { kind: 'startup' },
  socket: TLSSocket,
  host: Host,
): StartUp {
  const { minorVersion, parameters } = packet
  if (parameters.has('replication')) {
    throw new SallyportError('unsupported-feature', 'replication connection', {
      clientMessage: 'replication is not possible through this proxy',
      hint: 'Connect without the replication parameter.',
    })
  }
  const user = parameters.get('user')
  if (user === undefined || user === '') {
    throw new SallyportError('name-missing', 'start-up without a user', {
      clientMessage: 'no PostgreSQL user name specified in startup packet',
      hint: 'Any user name will do; <level>~<resource> names both.',
    })
  }
  const serverName = typeof socket.servername === 'string' ? socket.servername : undefined
  const { resource, wanted } = nameResource(serverName, user, host.domain)
  const certificate = socket.getPeerX509Certificate()
  const evidence: Evidence =
    certificate === undefined
      ? { kind: 'none' }
      : { kind: 'client-certificate', certificate: certificate.raw }
  return {
    kind: 'startup',
    evidence,
    resource,
    wanted,
    minorVersion,
    parameters,
    negotiated: false,
  }
}
