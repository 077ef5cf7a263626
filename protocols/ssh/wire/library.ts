/**
 * What is used of ssh2: its transport protocol (RFC 4253), which its public interface does not offer. Every private name of ssh2 is in
 * this file and in transport.ts. The version is pinned; interop tests with OpenSSH stand behind each of these.
 */
import { randomFillSync } from 'node:crypto'
import { createRequire } from 'node:module'
// CommonJS: Node gives its names only through the default.
import ssh2 from 'ssh2'

/** The state machine of one connection. */
export interface LibraryProtocol {
  start?: () => void
  parse(chunk: Buffer, start: number, end: number): void
  rekey(): void
  cleanup(): void
  /** Undefined once it was given up. */
  _destruct: unknown
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
const crypto = require('ssh2/lib/protocol/crypto.js') as {
  init: Promise<void>
  bindingAvailable: boolean
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

/** A private key in OpenSSH's form or PEM. Undefined for anything else, and for one that wants a passphrase. */
export function parsePrivateKey(text: string): LibraryPrivateKey | undefined {
  const parsed = ssh2.utils.parseKey(text) as unknown
  const [key] = (Array.isArray(parsed) ? parsed : [parsed]) as (LibraryPrivateKey | Error)[]
  return key === undefined || key instanceof Error || key.getPrivatePEM() === null ? undefined : key
}
