/**
 * What is used of ssh2: its transport protocol (RFC 4253), which its public interface does not offer. Every private name of ssh2 is in
 * this file and in transport.ts. The version is pinned; interop tests with OpenSSH stand behind each of these.
 */
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
