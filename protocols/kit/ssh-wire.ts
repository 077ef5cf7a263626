/** The data types of SSH (RFC 4251, chapter 5) as keys, signatures and certificates use them. Pure: bytes in, values out. */
import type { ByteReader } from './byte-reader.ts'
import { SallyportError } from './errors.ts'

/** A view of the bytes of a `string`. Throws `protocol-violation` past `bytesMax`. */
export function readSshString(reader: ByteReader, bytesMax: number): Buffer {
  const length = reader.u32()
  if (length > bytesMax) throw malformed(`a string of ${length} bytes, at most ${bytesMax} fit`)
  return reader.bytes(length)
}

/** A `string` that holds printable ASCII. */
export function readSshText(reader: ByteReader, bytesMax: number): string {
  const text = readSshString(reader, bytesMax).toString('latin1')
  if (!/^[\x20-\x7e]*$/.test(text)) throw malformed('text that is not printable ASCII')
  return text
}

/** A `uint64`, all of it. */
export function readSshU64(reader: ByteReader): bigint {
  const high = BigInt(reader.u32())
  return (high << 32n) | BigInt(reader.u32())
}

/** A positive `mpint` as its magnitude, and only in its shortest form: there is one way to write a number. */
export function readSshInteger(reader: ByteReader, bytesMax: number): Buffer {
  const bytes = readSshString(reader, bytesMax + 1)
  if (bytes.length === 0) throw malformed('the number zero')
  if (bytes[0]! >= 0x80) throw malformed('a negative number')
  const padded = bytes[0] === 0
  if (padded && (bytes.length === 1 || bytes[1]! < 0x80)) {
    throw malformed('a number with needless zeros')
  }
  const magnitude = padded ? bytes.subarray(1) : bytes
  if (magnitude.length > bytesMax) throw malformed(`a number of more than ${bytesMax} bytes`)
  return magnitude
}

/** Throws `protocol-violation` unless everything was read: more bytes would be bytes that nobody looked at. */
export function requireSshEnd(reader: ByteReader): void {
  if (reader.remaining > 0) throw malformed(`${reader.remaining} bytes after the end`)
}

export function sshU32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function sshU64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

export function sshString(value: string | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([sshU32(bytes.length), bytes])
}

/** A positive `mpint` from its magnitude. */
export function sshInteger(magnitude: Buffer): Buffer {
  let start = 0
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++
  const bytes = magnitude.subarray(start)
  return sshString(bytes[0]! >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes)
}

function malformed(what: string): SallyportError {
  return new SallyportError('protocol-violation', `malformed SSH data: ${what}`)
}
