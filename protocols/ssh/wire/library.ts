/**
 * What is used of ssh2: its transport protocol (RFC 4253), which its public interface does not offer. Every private name of ssh2 is in
 * this file and in transport.ts. The version is pinned; interop tests with OpenSSH stand behind each of these.
 */
import { randomFillSync } from 'node:crypto'
import { createRequire, registerHooks } from 'node:module'

/** What reads packets under one set of keys. */
export interface LibraryDecipher {
  /** See `lengthsAsked`. Default: `shortPacketBytesMax`. */
  packetBytesMax?: number
}

/** The state machine of one connection. */
export interface LibraryProtocol {
  start?: () => void
  parse(chunk: Buffer, start: number, end: number): void
  rekey(): void
  cleanup(): void
  /** Undefined once it was given up. */
  _destruct: unknown
  /** Another one for each set of keys. */
  _decipher: LibraryDecipher | undefined
  _onPayload: (payload: Buffer) => void
  _kexinit: Buffer | undefined
  _kex:
    | {
        sessionID: Buffer
        remoteExtInfoEnabled: boolean
        negotiated: { serverHostKey: string; kex: string }
        _hostKey: Buffer | undefined
      }
    | undefined
  _cipher: { readonly constructor: { readonly name: string } }
  _packetRW: {
    read: { read(payload: Buffer): Buffer }
    write: {
      allocStart: number
      allocStartKEX: number
      alloc(bytes: number, force?: boolean): Buffer
      finalize(packet: Buffer, force?: boolean): Buffer
    }
  }
}

export interface LibraryAlgorithms {
  kex: string[]
  serverHostKey: string[]
  cs: { cipher: string[]; mac: string[]; compress: string[]; lang: string[] }
  sc: { cipher: string[]; mac: string[]; compress: string[]; lang: string[] }
}

/** What the library signs an exchange with. */
export interface LibraryHostKey {
  readonly type: string
  getPublicSSH(): Buffer
  sign(data: Buffer): Buffer
}

export interface LibraryOptions {
  server: boolean
  ident: string
  offer: LibraryAlgorithms
  hostKeys?: Record<string, LibraryHostKey>
  hostVerifier?: (key: Buffer) => boolean
  onWrite(bytes: Buffer): void
  onError(error: Error): void
  onHeader(header: { identRaw: string; versions: { software: string } }): void
  onHandshakeComplete(): void
  messageHandlers: {
    DISCONNECT(protocol: unknown, reason: number, text: string): void
    EXT_INFO(protocol: unknown, extensions: { name: string; algs: string[] }[]): void
  }
}

const require = createRequire(import.meta.url)

/** What the library says of a packet whose length cannot be. */
export const badLength = 'Bad packet length'

/**
 * The library takes no packet of more than 35,000 bytes, by a constant of its own: enough for strangers, too few for a long command. Its
 * deciphers are made to ask themselves instead. Loaded for us anew where somebody has loaded it as it is.
 */
const crypto = (() => {
  const hooks = registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      if (!url.endsWith('/ssh2/lib/protocol/crypto.js')) return loaded
      const source = Buffer.from((loaded.source ?? '') as string).toString('utf8')
      return { ...loaded, source: lengthsAsked(source) }
    },
  })
  try {
    for (const path of Object.keys(require.cache)) {
      if (/\/ssh2\/lib\/.*\.js$/.test(path)) delete require.cache[path]
    }
    return require('ssh2/lib/protocol/crypto.js') as {
      init: Promise<void>
      bindingAvailable: boolean
    }
  } finally {
    hooks.deregister()
  }
})()

/** Throws where the library is not the one that this was written for. */
function lengthsAsked(source: string): string {
  const checks = source.split('> MAX_PACKET_SIZE').length - 1
  if (checks !== 7) throw new Error(`ssh2 has ${checks} checks of the length of packets`)
  return source.replaceAll('> MAX_PACKET_SIZE', '> (this.packetBytesMax ?? MAX_PACKET_SIZE)')
}

export const Protocol = require('ssh2/lib/protocol/Protocol.js') as new (
  options: LibraryOptions,
) => LibraryProtocol

/** Sizes of one packet (RFC 4253, 6) under one of the add-on's ciphers, which encrypt it where it is. */
export interface PacketLayout {
  readonly bytes: number
  readonly paddingBytes: number
  readonly tagBytes: number
}

/** Undefined: its memory is to be asked of the library. */
export function packetLayout(
  protocol: LibraryProtocol,
  payloadBytes: number,
): PacketLayout | undefined {
  // While keys are exchanged the library keeps payloads, and makes packets of them later.
  if (protocol._kexinit !== undefined) return undefined
  const cipher = protocol._cipher.constructor.name
  const blockBytes =
    cipher === 'AESGCMCipherBinding' ? 16 : cipher === 'ChaChaPolyCipherBinding' ? 8 : undefined
  if (blockBytes === undefined) return undefined
  // The length before it is no part of the blocks.
  const least = blockBytes - ((1 + payloadBytes) % blockBytes)
  const paddingBytes = least < 4 ? least + blockBytes : least
  const tagBytes = 16
  return { bytes: 5 + payloadBytes + paddingBytes + tagBytes, paddingBytes, tagBytes }
}

/** Random bytes for paddings, each used once. */
const randomness = Buffer.alloc(16 * 1024)
let randomAt = randomness.length

/** Fills in all but the payload, which begins at 5. */
export function beginPacket(
  memory: Buffer,
  { bytes, paddingBytes, tagBytes }: PacketLayout,
): Buffer {
  if (randomAt + paddingBytes > randomness.length) {
    randomFillSync(randomness)
    randomAt = 0
  }
  const padded = bytes - tagBytes
  memory.writeUInt32BE(padded - 4, 0)
  memory[4] = paddingBytes
  randomness.copy(memory, padded - paddingBytes, randomAt, (randomAt += paddingBytes))
  return memory
}

/** Encrypts and writes a packet, or (false) queues it while keys are exchanged. */
export const { sendPacket } = require('ssh2/lib/protocol/utils.js') as {
  sendPacket: (protocol: LibraryProtocol, packet: Buffer, bypass?: boolean) => boolean
}

/** Resolves when the ciphers can be used. */
export const libraryReady: Promise<void> = crypto.init

/** Whether the ciphers run in the native add-on. Without it everything works, at about half the speed. */
export function isNativeCryptoLoaded(): boolean {
  return crypto.bindingAvailable
}

export interface LibraryPrivateKey {
  readonly type: string
  getPublicSSH(): Buffer
  getPrivatePEM(): string | null
}

const { parseKey } = require('ssh2/lib/protocol/keyParser.js') as {
  parseKey: (text: string) => unknown
}

/** A private key in OpenSSH's form or PEM. Undefined for anything else, and for one that wants a passphrase. */
export function parsePrivateKey(text: string): LibraryPrivateKey | undefined {
  const parsed = parseKey(text)
  const [key] = (Array.isArray(parsed) ? parsed : [parsed]) as (LibraryPrivateKey | Error)[]
  return key === undefined || key instanceof Error || key.getPrivatePEM() === null ? undefined : key
}
