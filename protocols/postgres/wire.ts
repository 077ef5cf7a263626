/**
 * Bytes of the frontend/backend protocol 3.0: message types, their longest lengths, and the few messages that
 * the proxy writes itself. Pure functions; no sockets.
 *
 * Source: PostgreSQL documentation, "Frontend/Backend Protocol", chapters "Message Formats" and
 * "Message Data Types". https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
import type { Limits } from '../kit/limits.ts'

/** Messages of the client (frontend) that may follow start-up. */
export const frontend = {
  bind: 0x42, // B
  close: 0x43, // C
  describe: 0x44, // D
  execute: 0x45, // E
  functionCall: 0x46, // F
  flush: 0x48, // H
  parse: 0x50, // P
  query: 0x51, // Q
  sync: 0x53, // S
  terminate: 0x58, // X
  copyDone: 0x63, // c
  copyData: 0x64, // d
  copyFail: 0x66, // f
} as const

/** Messages of the server (backend). */
export const backend = {
  parseComplete: 0x31, // 1
  bindComplete: 0x32, // 2
  closeComplete: 0x33, // 3
  notification: 0x41, // A
  commandComplete: 0x43, // C
  dataRow: 0x44, // D
  error: 0x45, // E
  copyInResponse: 0x47, // G
  copyOutResponse: 0x48, // H
  emptyQuery: 0x49, // I
  backendKey: 0x4b, // K
  notice: 0x4e, // N
  authentication: 0x52, // R
  parameterStatus: 0x53, // S
  rowDescription: 0x54, // T
  functionResult: 0x56, // V
  copyBothResponse: 0x57, // W
  readyForQuery: 0x5a, // Z
  copyDone: 0x63, // c
  copyData: 0x64, // d
  noData: 0x6e, // n
  portalSuspended: 0x73, // s
  parameterDescription: 0x74, // t
  negotiateVersion: 0x76, // v
} as const

/** PostgreSQL's own bound for messages that carry little (PQ_SMALL_MESSAGE_LIMIT). */
export const smallMessageBytesMax = 10_000
/** libpq's bound for server messages that are not rows, errors or copies. */
const smallAnswerBytesMax = 30_000
/** A ParameterDescription of 65,535 parameters. */
const parameterDescriptionBytesMax = 4 + 2 + 4 * 65_535

/** Longest value of the length word, by type byte; 0 for a type that may not appear. */
export type LengthTable = Readonly<Float64Array>

/** What a client may send once it is logged in. */
export function frontendLengths(limits: Limits): LengthTable {
  const table = new Float64Array(256)
  for (const type of Object.values(frontend)) table[type] = smallMessageBytesMax
  const { bind, copyData, functionCall, parse, query } = frontend
  for (const type of [bind, copyData, functionCall, parse, query]) {
    table[type] = limits.messageBytesMax
  }
  return table
}

/** What a server may send once the login is done. */
export function backendLengths(limits: Limits): LengthTable {
  const table = new Float64Array(256)
  for (const type of Object.values(backend)) table[type] = smallAnswerBytesMax
  const { copyData, dataRow, error, functionResult, notice, notification, rowDescription } = backend
  for (const type of [
    copyData,
    dataRow,
    error,
    functionResult,
    notice,
    notification,
    rowDescription,
  ]) {
    table[type] = limits.messageBytesMax
  }
  table[backend.parameterDescription] = parameterDescriptionBytesMax
  return table
}

/** One message: type, length and body. */
export function message(type: number, ...body: readonly Buffer[]): Buffer {
  let length = 4
  for (const part of body) length += part.length
  const head = Buffer.allocUnsafe(5)
  head[0] = type
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, ...body])
}

/** Answered with a PasswordMessage: only ever sent inside TLS. */
export const authenticationCleartextPassword = message(
  backend.authentication,
  Buffer.from([0, 0, 0, 3]),
)
export const authenticationOk = message(backend.authentication, Buffer.from([0, 0, 0, 0]))
export const readyIdle = message(backend.readyForQuery, Buffer.from('I'))
/** Flush asks the server for the answers so far; it has no answer of its own. */
export const flushMessage = message(frontend.flush)
export const terminateMessage = message(frontend.terminate)

/** `key` is the process number and the secret, 4 bytes each, both ours. */
export function backendKeyData(key: Buffer): Buffer {
  return message(backend.backendKey, key)
}

/** Says that only minor version 0 is spoken here, and which `_pq_.` options are not known. */
export function negotiateVersion(unknownOptions: readonly string[]): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(0x0003_0000, 0)
  head.writeUInt32BE(unknownOptions.length, 4)
  return message(
    backend.negotiateVersion,
    head,
    ...unknownOptions.map((name) => Buffer.from(`${name}\0`)),
  )
}
