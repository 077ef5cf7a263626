import type { ActivityKind, ActivitySource, BlobReference, FieldWriter } from '../../activity.ts'
import type { Portal, Statement } from './named.ts'
import { findTriggers, triggers } from './triggers.ts'
import { decodeBinary, isTextInBinary } from './values.ts'

export const redactedMark = '[redacted]'
const utf8Names = new Set(['', 'UTF8', 'UNICODE'])

/** What every record of one connection has in common. */
export abstract class Source implements ActivitySource {
  readonly kind: ActivityKind
  /** Set by `encode`: something was taken out. */
  secret = false
  /** The client's encoding as the server reports it. */
  encoding = 'UTF8'

  constructor(kind: ActivityKind) {
    this.kind = kind
  }

  abstract encode(fields: FieldWriter): void

  protected encodeEncoding(fields: FieldWriter): void {
    if (!utf8Names.has(this.encoding)) fields.utf8('encoding', this.encoding)
  }
}

/** A simple Query: text straight from the message. */
export class QuerySource extends Source {
  buffer: Buffer = Buffer.alloc(0)
  start = 0
  end = 0
  blob: BlobReference | undefined
  redacted = false

  encode(fields: FieldWriter): void {
    fields.bytes('text', this.buffer, this.start, this.end)
    if (this.blob !== undefined) fields.blob('textBlob', this.blob)
    if (this.redacted) fields.empty('redacted')
    this.secret = this.redacted
    this.encodeEncoding(fields)
  }
}

/** An Execute, or (kind `prepare`) a Parse or Bind that failed and that nobody executes. */
export class StatementSource extends Source {
  statement: Statement | undefined
  portal: Portal | undefined
  /** Where the portal is not known: its name, in the message. */
  buffer: Buffer = Buffer.alloc(0)
  start = 0
  end = 0

  encode(fields: FieldWriter): void {
    const { portal, statement } = this
    if (statement === undefined) {
      fields.empty('text')
    } else {
      fields.bytes('text', statement.text)
      if (statement.blob !== undefined) fields.blob('textBlob', statement.blob)
      if (statement.redacted) fields.empty('redacted')
    }
    this.secret = statement?.redacted === true
    const name = statement?.name ?? portal?.statementName
    if (name !== undefined && name.length > 0) fields.bytes('preparedName', name)
    if (portal !== undefined) {
      if (portal.blob !== undefined) fields.blob('parametersBlob', portal.blob)
      else if (encodeParameters(fields, portal.bytes, 0, portal.length, statement)) {
        this.secret = true
      }
    } else if (this.end > this.start) {
      fields.bytes('target', this.buffer, this.start, this.end)
    }
    this.encodeEncoding(fields)
  }
}

/** A FunctionCall: object identifier as target, arguments as parameters. */
export class FunctionCallSource extends Source {
  buffer: Buffer = Buffer.alloc(0)
  /** Offset of the object identifier; the arguments follow it. */
  start = 0
  end = 0
  blob: BlobReference | undefined

  encode(fields: FieldWriter): void {
    const oid = this.buffer.readUInt32BE(this.start)
    fields.utf8('text', `function call ${oid}`)
    fields.utf8('target', String(oid))
    if (this.blob !== undefined) fields.blob('parametersBlob', this.blob)
    else encodeParameters(fields, this.buffer, this.start + 4, this.end, undefined)
    this.encodeEncoding(fields)
  }
}

/** `formats i16, format i16…, values i16, (length i32, bytes)…`, checked before. True: something was taken out. */
function encodeParameters(
  fields: FieldWriter,
  bytes: Buffer,
  start: number,
  end: number,
  statement: Statement | undefined,
): boolean {
  if (end - start < 4) return false
  const formats = bytes.readUInt16BE(start)
  let at = start + 2 + 2 * formats
  const count = bytes.readUInt16BE(at)
  at += 2
  let hidden = false
  for (let index = 0; index < count; index++) {
    const length = bytes.readInt32BE(at)
    at += 4
    if (length < 0) {
      fields.empty('parameterNull')
      continue
    }
    const formatIndex = formats === 1 ? 0 : index
    const binary = formatIndex < formats && bytes.readUInt16BE(start + 2 + 2 * formatIndex) !== 0
    if (statement !== undefined && hidesParameter(statement, bytes, at, at + length)) {
      fields.utf8('parameterText', redactedMark)
      hidden = true
    } else {
      encodeParameter(fields, bytes, at, at + length, binary, statement?.types[index] ?? 0)
    }
    at += length
  }
  if (hidden && statement?.redacted !== true) fields.empty('redacted')
  return hidden
}

function encodeParameter(
  fields: FieldWriter,
  bytes: Buffer,
  start: number,
  end: number,
  binary: boolean,
  type: number,
): void {
  if (!binary) {
    fields.bytes('parameterText', bytes, start, end)
    return
  }
  if (isTextInBinary(type)) {
    fields.bytes('parameterText', bytes, start, end)
    return
  }
  const text = decodeBinary(type, bytes.subarray(start, end))
  if (text === undefined) fields.bytes('parameterBinary', bytes, start, end)
  else fields.utf8('parameterText', text)
}

/** A statement with a credential hides all its parameters; one with dblink those that look like an address. */
function hidesParameter(statement: Statement, bytes: Buffer, start: number, end: number): boolean {
  if (statement.redacted) return true
  if (!statement.mentionsDblink) return false
  return (findTriggers(bytes, start, end) & triggers.credential) !== 0
}
