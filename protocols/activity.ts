/**
 * What a user did, and how it went: the words that every protocol shares with the audit.
 *
 * An engine does not build an object per message. It hands `Session.report` an `ActivitySource`, a
 * long-lived object of the connection that appends tagged fields to the batch of this turn. The tagged form
 * describes itself, so control can index what an engine wrote without knowing the protocol.
 */
import type { ByteWriter } from './kit/byte-writer.ts'
import { ByteReader } from './kit/byte-reader.ts'

/** Protocols that have an engine. `protocols/index.ts` is held to this list by the compiler. */
export const protocolNames = ['postgres', 'ssh', 'http'] as const
export type ProtocolName = (typeof protocolNames)[number]

/** What kind of thing was done. The numbers are on disk: append only. */
export const activityKinds = {
  statement: 1,
  /** A PREPARE-like step recorded only because it failed: nothing ran. */
  prepare: 2,
  functionCall: 3,
  command: 4,
  fileTransfer: 5,
  channel: 6,
  request: 7,
  /** A command line worked out from what was typed and echoed: the program may have read something else. */
  typed: 8,
  /** A WebSocket, from its opening to its end. */
  websocket: 9,
} as const
export type ActivityKind = keyof typeof activityKinds

/**
 * Fields of an activity's payload: `tag u8 | length u32 | bytes`, repeated. The numbers are on disk:
 * append only. `parameter*` fields follow each other in the order of the parameters.
 */
export const activityFields = {
  /** UTF-8 text of the statement or command, whole. */
  text: 1,
  preparedName: 2,
  parameterText: 3,
  parameterNull: 4,
  /** A parameter in a binary form nobody could decode: raw bytes, shown as hex. */
  parameterBinary: 5,
  /** 32 bytes SHA-256, then u64 length: the text is in a blob; `text` then holds its beginning. */
  textBlob: 6,
  /** The same for all parameters together (the message's body as it was on the wire). */
  parametersBlob: 7,
  /** Text was changed before it was written, because it carried a credential. Empty. */
  redacted: 8,
  path: 9,
  target: 10,
  /** Encoding of `text` where it is not UTF-8, as the protocol names it. */
  encoding: 11,
  /** What was done to `path`: open, read, write, rename, remove and the like. */
  operation: 12,
  /** Number of the channel in its connection, decimal: what was done through the same one belongs together. */
  channel: 13,
} as const
export type ActivityField = keyof typeof activityFields

/** How it went. `unknown` is what a crash leaves; `skipped` means the server never ran it. */
export const outcomeStatuses = { ok: 1, error: 2, skipped: 3, cancelled: 4, unknown: 5 } as const
export type OutcomeStatus = keyof typeof outcomeStatuses

/** Long-lived and mutable: the engine sets the fields, passes it to `settle`, and uses it again. */
export interface Outcome {
  status: OutcomeStatus
  /** Rows returned or changed; -1 where the protocol does not say. */
  rows: number
  bytesUp: number
  bytesDown: number
  /** Monotonic, in microseconds. */
  durationUs: number
  /** The protocol's own completion tag or exit status ("SELECT 1"), ASCII, up to 255 bytes. */
  tag: string
  /** The protocol's own error code (an SQLSTATE), or ''. */
  errorCode: string
  /** The resource's own error text, or ''. Counts as payload: it may quote data. */
  errorText: string
}

/** One that went well and says nothing, but for what is `known` of it. */
export function newOutcome(known: Partial<Outcome> = {}): Outcome {
  return {
    ...{ status: 'ok', rows: -1, bytesUp: 0, bytesDown: 0, durationUs: 0 },
    ...{ tag: '', errorCode: '', errorText: '' },
    ...known,
  }
}

/** Writes one activity's payload as tagged fields. Must not keep the writer. */
export interface ActivitySource {
  readonly kind: ActivityKind
  encode(fields: FieldWriter): void
}

/** Appends tagged fields to the batch of this turn. */
export class FieldWriter {
  #writer: ByteWriter

  constructor(writer: ByteWriter) {
    this.#writer = writer
  }

  utf8(field: ActivityField, text: string): void {
    const writer = this.#writer
    writer.u8(activityFields[field])
    const lengthAt = writer.reserve(4)
    writer.putU32(lengthAt, writer.utf8(text))
  }

  bytes(field: ActivityField, source: Uint8Array, start = 0, end = source.length): void {
    const writer = this.#writer
    writer.u8(activityFields[field])
    writer.u32(end - start)
    writer.copy(source, start, end)
  }

  empty(field: ActivityField): void {
    this.#writer.u8(activityFields[field])
    this.#writer.u32(0)
  }

  blob(field: 'textBlob' | 'parametersBlob', blob: BlobReference): void {
    const writer = this.#writer
    writer.u8(activityFields[field])
    writer.u32(40)
    writer.copy(blob.sha256)
    writer.u64(blob.bytes)
  }
}

export interface BlobReference {
  /** 32 bytes. */
  sha256: Buffer
  bytes: number
}

export type ActivityParameter =
  | { form: 'text'; value: string }
  | { form: 'null' }
  | { form: 'binary'; hex: string }

/** A payload read back. Unknown tags (of a newer writer) are passed over. */
export interface DecodedActivity {
  text: string
  preparedName: string
  parameters: ActivityParameter[]
  textBlob?: { sha256: string; bytes: number }
  parametersBlob?: { sha256: string; bytes: number }
  redacted: boolean
  path?: string
  target?: string
  encoding?: string
  operation?: string
  channel?: string
}

/** Reads what a `FieldWriter` wrote. Throws `protocol-violation` on bytes that are not fields. */
export function decodeActivity(payload: Buffer): DecodedActivity {
  const reader = new ByteReader(payload)
  const decoded: DecodedActivity = { text: '', preparedName: '', parameters: [], redacted: false }
  while (reader.remaining > 0) {
    const tag = reader.u8()
    const value = reader.bytes(reader.u32())
    switch (tag) {
      case activityFields.text:
        decoded.text = value.toString('utf8')
        break
      case activityFields.preparedName:
        decoded.preparedName = value.toString('utf8')
        break
      case activityFields.parameterText:
        decoded.parameters.push({ form: 'text', value: value.toString('utf8') })
        break
      case activityFields.parameterNull:
        decoded.parameters.push({ form: 'null' })
        break
      case activityFields.parameterBinary:
        decoded.parameters.push({ form: 'binary', hex: value.toString('hex') })
        break
      case activityFields.textBlob:
        decoded.textBlob = decodeBlobReference(value)
        break
      case activityFields.parametersBlob:
        decoded.parametersBlob = decodeBlobReference(value)
        break
      case activityFields.redacted:
        decoded.redacted = true
        break
      case activityFields.path:
        decoded.path = value.toString('utf8')
        break
      case activityFields.target:
        decoded.target = value.toString('utf8')
        break
      case activityFields.encoding:
        decoded.encoding = value.toString('utf8')
        break
      case activityFields.operation:
        decoded.operation = value.toString('utf8')
        break
      case activityFields.channel:
        decoded.channel = value.toString('utf8')
        break
      default:
        break
    }
  }
  return decoded
}

function decodeBlobReference(value: Buffer): { sha256: string; bytes: number } {
  const reader = new ByteReader(value)
  return { sha256: reader.bytes(32).toString('hex'), bytes: reader.u64() }
}
