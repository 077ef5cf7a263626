/** The other end of an SSH connection as raw messages, for what no real client or server would send. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { HostKey } from '../../protocols/engine.ts'
import { sshString, sshU32 } from '../../protocols/kit/ssh-wire.ts'
import { message, messages, sshBoolean } from '../../protocols/ssh/wire.ts'
import { libraryReady } from '../../protocols/ssh/wire/library.ts'
import { Transport } from '../../protocols/ssh/wire/transport.ts'

export interface Received {
  readonly type: number
  readonly payload: Buffer
}

export interface SshPeer {
  readonly socket: Socket
  readonly transport: Transport
  readonly received: Received[]
  readonly isClosed: boolean
  send(type: number, ...fields: Buffer[]): void
  /** The first message of this type that has not been taken yet; rejects when the connection ends without one. */
  take(type: number): Promise<Buffer>
}

function createPeer(socket: Socket): {
  peer: SshPeer
  handlers: ConstructorParameters<typeof Transport>[2]
  lead: (transport: Transport) => void
  ready: Promise<void>
} {
  const received: Received[] = []
  const waiting: { type: number; resolve(payload: Buffer): void; reject(error: Error): void }[] = []
  const ready = Promise.withResolvers<void>()
  ready.promise.catch(() => {})
  let isClosed = false
  let transport: Transport
  const handlers = {
    ready: () => ready.resolve(),
    message(type: number, view: Buffer) {
      const payload = Buffer.from(view)
      const index = waiting.findIndex((each) => each.type === type)
      if (index < 0) received.push({ type, payload })
      else waiting.splice(index, 1)[0]!.resolve(payload)
    },
    drained() {},
    closed(error: Error | undefined) {
      isClosed = true
      const why = error ?? new Error('closed')
      ready.reject(why)
      for (const each of waiting.splice(0)) each.reject(why)
    },
  }
  const peer: SshPeer = {
    socket,
    get transport() {
      return transport
    },
    received,
    get isClosed() {
      return isClosed
    },
    send: (type, ...fields) => transport.send(message(type, ...fields)),
    take(type) {
      const index = received.findIndex((each) => each.type === type)
      if (index >= 0) return Promise.resolve(received.splice(index, 1)[0]!.payload)
      if (isClosed) return Promise.reject(new Error('closed'))
      const taken = new Promise<Buffer>((resolve, reject) =>
        waiting.push({ type, resolve, reject }),
      )
      // Whoever does not wait for it does not care.
      taken.catch(() => {})
      return taken
    },
  }
  return { peer, handlers, lead: (made) => void (transport = made), ready: ready.promise }
}

/** A client whose keys are exchanged. */
export async function connectPeer(port: number): Promise<SshPeer> {
  await libraryReady
  const socket = connect(port, '127.0.0.1')
  const { peer, handlers, lead, ready } = createPeer(socket)
  const role = {
    side: 'client' as const,
    hostKeyAlgorithms: ['ssh-ed25519'],
    verifyHost: (shown: Buffer) => shown,
  }
  lead(new Transport(socket, role, handlers))
  peer.transport.start()
  await ready
  return peer
}

/** One that is in, by a key that a fake gate takes unseen. */
export async function logInPeer(port: number, user: string): Promise<SshPeer> {
  const peer = await connectPeer(port)
  peer.send(messages.serviceRequest, sshString('ssh-userauth'))
  await peer.take(messages.serviceAccept)
  peer.send(messages.userauthRequest, ...keyRequest(user))
  await peer.take(messages.userauthSuccess)
  return peer
}

/** A key of OpenSSH's, or a certificate of one, and who signs with it. */
export interface PeerKey {
  /** What is shown: a blob. */
  readonly shown: Buffer
  /** `ssh-ed25519`, or `ssh-ed25519-cert-v01@openssh.com`. */
  readonly algorithm: string
  sign(data: Buffer): Buffer
}

/** Asks to be let in by a key (RFC 4252, chapter 7); false if it is refused. `sessionId` is the connection that is signed for. */
export async function authenticate(
  peer: SshPeer,
  user: string,
  key: PeerKey,
  sessionId = peer.transport.sessionId,
): Promise<boolean> {
  peer.send(messages.serviceRequest, sshString('ssh-userauth'))
  await peer.take(messages.serviceAccept)
  const asked = [
    ...[sshString(user), sshString('ssh-connection'), sshString('publickey'), sshBoolean(true)],
    ...[sshString(key.algorithm), sshString(key.shown)],
  ]
  const signed = Buffer.concat([
    ...[sshString(sessionId), Buffer.of(messages.userauthRequest), ...asked],
  ])
  const signature = Buffer.concat([sshString('ssh-ed25519'), sshString(key.sign(signed))])
  peer.send(messages.userauthRequest, ...asked, sshString(signature))
  return Promise.race([
    peer.take(messages.userauthSuccess).then(() => true),
    peer.take(messages.userauthFailure).then(() => false),
  ])
}

/** All that came through channels so far and was not taken. */
export function shownTo(peer: SshPeer): string {
  const data = peer.received.filter(({ type }) => type === messages.channelData)
  return data.map(({ payload }) => payload.toString('utf8', 9)).join('')
}

export function keyRequest(user: string, service = 'ssh-connection'): Buffer[] {
  const signature = Buffer.concat([sshString('ssh-ed25519'), sshString(Buffer.alloc(64))])
  return [
    ...[sshString(user), sshString(service), sshString('publickey'), sshBoolean(true)],
    ...[sshString('ssh-ed25519'), sshString(Buffer.alloc(51)), sshString(signature)],
  ]
}

/** Opens a channel; its number at the other end. */
export async function openChannel(
  peer: SshPeer,
  { window = 2 ** 21, packet = 32_768, type = 'session', id = 0, more = Buffer.alloc(0) } = {},
): Promise<number> {
  const fields = [sshString(type), sshU32(id), sshU32(window), sshU32(packet), more]
  peer.send(messages.channelOpen, ...fields)
  return (await peer.take(messages.channelOpenConfirmation)).readUInt32BE(5)
}

export function request(
  peer: SshPeer,
  channel: number,
  type: string,
  payload: Buffer = Buffer.alloc(0),
  wantsReply = false,
): void {
  const fields = [sshU32(channel), sshString(type), sshBoolean(wantsReply), payload]
  peer.send(messages.channelRequest, ...fields)
}

export interface PeerServer {
  readonly port: number
  /** Resources that the proxy has logged in at. */
  readonly peers: SshPeer[]
  close(): void
}

/** A resource that takes any login; `serve` gets it in the turn of the login. */
export async function startPeerServer(
  hostKey: HostKey,
  serve: (peer: SshPeer) => void,
): Promise<PeerServer> {
  await libraryReady
  const peers: SshPeer[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    const { peer, handlers, lead, ready } = createPeer(socket)
    lead(new Transport(socket, { side: 'server', hostKeys: [hostKey] }, handlers))
    peer.transport.start()
    const accept = async (): Promise<void> => {
      await ready
      await peer.take(messages.serviceRequest)
      peer.send(messages.serviceAccept, sshString('ssh-userauth'))
      await peer.take(messages.userauthRequest)
      peer.send(messages.userauthSuccess)
      peers.push(peer)
      serve(peer)
    }
    accept().catch(() => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    peers,
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
