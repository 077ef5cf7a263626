/**
 * One SSH connection as packets (RFC 4253): versions, key exchange, encryption, rekeying. What belongs to authentication and channels
 * passes as payloads, unread. This is the one place where ssh2 is reached into; each reach says why.
 */
import type { Duplex } from 'node:stream'
import { SallyportError } from '../../kit/errors.ts'
import type { HostKey } from '../../engine.ts'
import { passedThrough } from '../../kit/passed-through.ts'
import type { TransportHandlers, TransportRole } from './transport-role.ts'
import { disconnectMessage, messages, serverSignatureAlgorithms } from '../wire.ts'
import { clientAlgorithms, serverAlgorithms, signInAlgorithms } from './algorithms.ts'
import { plainAlgorithm } from './host-key.ts'
import {
  badLength,
  Protocol,
  sendPacket,
  type LibraryDecipher,
  type LibraryHostKey,
  type LibraryOptions,
  type LibraryProtocol,
  beginPacket,
  packetLayout,
} from './library.ts'
import { Outbox } from './outbox.ts'

/** Bytes under one set of keys (RFC 4344, 3.2 would allow more; so many take seconds). */
const rekeyBytes = 1024 * 1024 * 1024
/** What a socket may hold before its writers wait. Its own mark is so low that two sides would wait for each other in turns. Bytes. */
const congestedBytes = 512 * 1024
/** What a peer does not read: past it, nothing is read from that peer, nor from whoever else makes us send more. */
const unreadBytesMax = 8 * 1024 * 1024
/** What may wait for the end of a key exchange before its writers have to. */
const queuedBytesMax = 256 * 1024

export class Transport {
  readonly #socket: Duplex
  readonly #handlers: TransportHandlers
  readonly #protocol: LibraryProtocol
  readonly #outbox: Outbox
  #over = false
  #ending = false
  #handshakes = 0
  #bytes = 0
  /** Waits for the end of a key exchange, which is up to the peer. */
  #queuedBytes = 0
  #isFlooded = false
  #isUnread = false
  #isHeld = false
  #remoteVersion = ''
  #signatureAlgorithms: readonly string[] | undefined
  #packetBytesMax: number | undefined
  #error: Error | undefined

  constructor(socket: Duplex, role: TransportRole, handlers: TransportHandlers) {
    this.#socket = socket
    this.#outbox = new Outbox(socket)
    this.#handlers = handlers
    const common: Omit<LibraryOptions, 'server' | 'offer'> = {
      ident: 'Sallyport',
      onWrite: (bytes) => this.#write(bytes),
      onError: (error) => this.#fail(error),
      onHeader: ({ versions }) => {
        this.#remoteVersion = versions.software.slice(0, 255)
      },
      onHandshakeComplete: () => this.#onKeys(role.side),
      messageHandlers: {
        DISCONNECT: (_protocol, reason, text) => {
          if (reason !== 11) this.#error ??= new Error(`the peer left (${reason}): ${text}`)
          this.#end()
        },
        EXT_INFO: (_protocol, extensions) => {
          const found = extensions.find(({ name }) => name === 'server-sig-algs')
          this.#signatureAlgorithms ??= found?.algs
        },
      },
    }
    this.#protocol =
      role.side === 'server'
        ? this.#createServer(common, role.hostKeys)
        : this.#createClient(common, role.hostKeyAlgorithms, role.verifyHost)
    const pass = this.#protocol._onPayload
    // The library's own layers of authentication and channels are not used.
    this.#protocol._onPayload = (payload) => {
      const type = payload[0]
      if (type !== undefined && (type >= 50 || type === 5 || type === 6)) {
        if (!this.#over) handlers.message(type, this.#protocol._packetRW.read.read(payload))
      } else pass(payload)
    }
    socket.on('error', (error) => {
      this.#error ??= error
    })
    socket.on('close', () => this.#guard(() => this.#close()))
    socket.on('end', () => this.#guard(() => this.#end()))
    socket.on('drain', () => {
      if (this.#over) return
      this.#isUnread = false
      this.#read()
      this.#guard(() => this.#ebb())
    })
  }

  /** Sends our version and begins to read. */
  start(): void {
    if (this.#over) return
    this.#protocol.start?.()
    this.#socket.on('data', (chunk: Buffer) => {
      if (this.#over || this.#ending) return
      this.#guard(() => {
        passedThrough(chunk.length)
        this.#count(chunk.length)
        this.#protocol.parse(chunk, 0, chunk.length)
      })
    })
    this.#socket.resume()
  }

  /** The hash of the first exchange: what a client signs to prove itself here and nowhere else. */
  get sessionId(): Buffer {
    return this.#protocol._kex!.sessionID
  }

  get remoteVersion(): string {
    return this.#remoteVersion
  }

  /** What a server says it takes (RFC 8308); undefined if it does not say. */
  get signatureAlgorithms(): readonly string[] | undefined {
    return this.#signatureAlgorithms
  }

  /** From here on the peer's packets may be so long; without this, 35,000 bytes. */
  takePackets(bytesMax: number): void {
    this.#packetBytesMax = bytesMax
    let decipher: LibraryDecipher | undefined
    const set = (next: LibraryDecipher | undefined): void => {
      decipher = next
      if (decipher !== undefined) decipher.packetBytesMax = bytesMax
    }
    set(this.#protocol._decipher)
    // Also the next one, before it reads anything: keys may be exchanged again at any time.
    Object.defineProperty(this.#protocol, '_decipher', {
      configurable: true,
      get: () => decipher,
      set,
    })
  }

  get isOver(): boolean {
    return this.#over || this.#ending
  }

  /** The peer does not take what was sent already. `drained` follows. */
  get isCongested(): boolean {
    return this.#outbox.waitingBytes >= congestedBytes || this.#queuedBytes > queuedBytesMax
  }

  /** Somebody else asked that nothing be read here. */
  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Stops reading, or goes on with it. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld
    this.#read()
  }

  send(payload: Buffer): void {
    if (this.isOver) return
    const start = this.#protocol._packetRW.write.allocStart
    const packet = this.#packet(payload.length)
    packet.set(payload, start)
    this.#send(packet)
  }

  /** CHANNEL_DATA, or CHANNEL_EXTENDED_DATA where `extended` is not 0; the one copy is into the packet. */
  sendData(channel: number, extended: number, bytes: Buffer, start: number, end: number): void {
    if (this.isOver) return
    let at = this.#protocol._packetRW.write.allocStart
    const length = end - start
    const packet = this.#packet((extended === 0 ? 9 : 13) + length)
    packet[at++] = extended === 0 ? messages.channelData : messages.channelExtendedData
    at = packet.writeUInt32BE(channel, at)
    if (extended !== 0) at = packet.writeUInt32BE(extended, at)
    at = packet.writeUInt32BE(length, at)
    bytes.copy(packet, at, start, end)
    this.#send(packet)
  }

  #packet(payloadBytes: number): Buffer {
    const layout = packetLayout(this.#protocol, payloadBytes)
    const room = layout === undefined ? undefined : this.#outbox.room(layout.bytes)
    if (room === undefined) return this.#protocol._packetRW.write.alloc(payloadBytes)
    return beginPacket(room, layout!)
  }

  #send(packet: Buffer): void {
    if (sendPacket(this.#protocol, packet)) return
    // The library holds it until the peer has done its part, for ever if need be.
    this.#queuedBytes += packet.length
    if (this.#queuedBytes > unreadBytesMax) this.#flood()
  }

  #flood(): void {
    if (this.#isFlooded) return
    this.#isFlooded = true
    this.#handlers.flooded?.(true)
  }

  /** Some of what waited has gone. */
  #ebb(): void {
    if (this.#socket.writableNeedDrain || this.#queuedBytes > 0) return
    if (this.#isFlooded) {
      this.#isFlooded = false
      this.#handlers.flooded?.(false)
    }
    this.#handlers.drained()
  }

  #read(): void {
    if (this.#over) return
    if ((this.#isHeld || this.#isUnread) && !this.#ending) this.#socket.pause()
    else this.#socket.resume()
  }

  /** Says why and ends. Also in the middle of a key exchange. */
  disconnect(reason: number, text: string): void {
    if (this.isOver) return
    const payload = disconnectMessage(reason, text)
    const { write } = this.#protocol._packetRW
    const start = write.allocStartKEX
    const packet = write.alloc(payload.length, true)
    packet.set(payload, start)
    sendPacket(this.#protocol, write.finalize(packet, true), true)
    this.#end()
  }

  destroy(error?: Error): void {
    this.#error ??= error
    this.#socket.destroy()
    this.#close()
  }

  #createServer(
    common: Omit<LibraryOptions, 'server' | 'offer'>,
    hostKeys: readonly HostKey[],
  ): LibraryProtocol {
    const keys: Record<string, LibraryHostKey> = Object.create(null) as Record<
      string,
      LibraryHostKey
    >
    for (const key of hostKeys) {
      keys[key.algorithm] ??= {
        // The value of the signature is ready as it is: a type that the library knows would be converted.
        type: 'ready',
        getPublicSSH: () => key.publicKey,
        sign: (data) => {
          const kex = this.#protocol._kex!
          // The signature of a certificate's key carries the plain algorithm; the library would write the negotiated one.
          kex.negotiated.serverHostKey = plainAlgorithm(key.algorithm)
          // The library's list of algorithms lacks a comma and a few of its members: ours is sent instead.
          this.#extensionsWanted = kex.remoteExtInfoEnabled
          kex.remoteExtInfoEnabled = false
          return key.sign(data)
        },
      }
    }
    const offer = serverAlgorithms(Object.keys(keys))
    return new Protocol({ ...common, server: true, offer, hostKeys: keys })
  }

  #extensionsWanted = false

  #createClient(
    common: Omit<LibraryOptions, 'server' | 'offer'>,
    hostKeyAlgorithms: readonly string[],
    verifyHost: (shown: Buffer) => Buffer | undefined,
  ): LibraryProtocol {
    const hostVerifier = (shown: Buffer): boolean => {
      const key = verifyHost(shown)
      if (key === undefined) return false
      const kex = this.#protocol._kex!
      const { negotiated } = kex
      negotiated.serverHostKey = plainAlgorithm(negotiated.serverHostKey)
      if (!key.equals(shown)) {
        // A certificate: the exchange's hash is over all of it (the first read), the signature is of the key in it (every later one).
        let reads = 0
        Object.defineProperty(kex, '_hostKey', {
          configurable: true,
          get: () => (reads++ === 0 ? shown : key),
          set() {},
        })
      }
      return true
    }
    const offer = clientAlgorithms(hostKeyAlgorithms)
    return new Protocol({ ...common, server: false, offer, hostVerifier })
  }

  #onKeys(side: 'server' | 'client'): void {
    this.#bytes = 0
    this.#queuedBytes = 0
    if (this.#handshakes++ > 0) {
      this.#handlers.rekeyed?.()
      this.#ebb()
      return
    }
    if (side === 'server' && this.#extensionsWanted) {
      this.send(serverSignatureAlgorithms(signInAlgorithms))
    }
    this.#handlers.ready()
  }

  #write(bytes: Buffer): void {
    const socket = this.#socket
    if (this.#over || socket.destroyed || !socket.writable) return
    this.#outbox.add(bytes)
    this.#count(bytes.length)
    if (this.#outbox.waitingBytes <= unreadBytesMax) return
    this.#isUnread = true
    this.#read()
    this.#flood()
  }

  #count(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < rekeyBytes || this.#handshakes === 0) return
    this.#bytes = 0
    // Not from within the library's own write or read.
    setImmediate(() => {
      if (this.isOver || this.#protocol._kexinit !== undefined) return
      this.#guard(() => this.#protocol.rekey())
    })
  }

  /** Runs what nobody else would catch: what it throws ends this connection, and nothing but this connection. */
  #guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      if (!this.#over) this.#refuse(error as Error)
    }
  }

  /** The library has said goodbye by itself. */
  #fail(error: Error): void {
    this.#error ??= error
    this.#end()
  }

  #refuse(error: Error): void {
    this.#error ??= error
    const text = error instanceof SallyportError ? error.clientMessage : this.#wordsOf(error)
    if (this.#protocol._destruct === undefined) this.#end()
    else this.disconnect(2, text)
  }

  #wordsOf({ message }: Error): string {
    if (message !== badLength || this.#packetBytesMax === undefined) return 'protocol error'
    return `protocol error: a packet of more than ${this.#packetBytesMax} bytes, or of no valid length`
  }

  #end(): void {
    if (this.#ending) return
    this.#ending = true
    this.#outbox.flush()
    this.#socket.end()
    // What still comes is read and dropped: unread bytes would turn our close into a reset.
    this.#socket.resume()
    this.#handlers.ending?.()
  }

  #close(): void {
    if (this.#over) return
    this.#over = true
    this.#protocol.cleanup()
    this.#handlers.closed(this.#error)
  }
}
