/**
 * Start-up packets: the only messages without a type byte. `length u32 | code u32 | …`.
 *
 * Source: PostgreSQL documentation, "Message Formats": StartupMessage, SSLRequest, GSSENCRequest,
 * CancelRequest.
 */
import { assert } from '../../kit/assert.ts'
import { ByteReader } from '../../kit/byte-reader.ts'
import { SallyportError } from '../../kit/errors.ts'

export const startupCodes = {
  cancel: 80_877_102,
  ssl: 80_877_103,
  gssEncryption: 80_877_104,
} as const

/** First byte of a TLS handshake record: direct TLS, without SSLRequest. */
export const tlsHandshakeByte = 0x16

const protocolMajor = 3
const cancelPacketBytes = 16
/** Names and values that one start-up may carry; PostgreSQL itself knows about 400 settings. */
const parametersMax = 200

export type StartupPacket =
  | { readonly kind: 'ssl' }
  | { readonly kind: 'gss-encryption' }
  | { readonly kind: 'cancel'; readonly key: Buffer }
  | {
      readonly kind: 'startup'
      readonly minorVersion: number
      readonly parameters: ReadonlyMap<string, string>
    }

/**
 * Length of the packet that starts `buffer`, or undefined while the length word is incomplete. Throws
 * `protocol-violation` on a length that no start-up packet has.
 */
export function startupPacketBytes(buffer: Buffer, startupBytesMax: number): number | undefined {
  if (buffer.length < 4) return undefined
  const length = buffer.readUInt32BE(0)
  if (length < 8 || length > startupBytesMax) {
    throw new SallyportError('protocol-violation', `start-up packet with length ${length}`, {
      clientMessage: 'invalid length of startup packet',
      hint: 'This port speaks the PostgreSQL protocol only.',
    })
  }
  return length
}

/** Reads one whole start-up packet. Throws `protocol-violation` or `unsupported-feature`. */
export function readStartupPacket(packet: Buffer): StartupPacket {
  const reader = new ByteReader(packet)
  reader.u32()
  const code = reader.u32()
  switch (code) {
    case startupCodes.ssl:
    case startupCodes.gssEncryption:
      if (reader.remaining > 0) throw malformed('request with a body')
      return { kind: code === startupCodes.ssl ? 'ssl' : 'gss-encryption' }
    case startupCodes.cancel:
      if (packet.length !== cancelPacketBytes) throw malformed('cancel request with another length')
      return { kind: 'cancel', key: Buffer.from(packet.subarray(8)) }
    default:
      break
  }
  const major = code >>> 16
  if (major !== protocolMajor) {
    throw new SallyportError('unsupported-feature', `protocol version ${major}.${code & 0xffff}`, {
      clientMessage: `unsupported frontend protocol ${major}.${code & 0xffff}: only 3.0 is spoken here`,
      hint: 'Use a client of PostgreSQL 7.4 or newer.',
    })
  }
  return { kind: 'startup', minorVersion: code & 0xffff, parameters: readParameters(reader) }
}

function readParameters(reader: ByteReader): Map<string, string> {
  const parameters = new Map<string, string>()
  for (;;) {
    const name = reader.cString()
    if (name === '') break
    if (parameters.size >= parametersMax) throw malformed('too many parameters')
    parameters.set(name, reader.cString())
  }
  if (reader.remaining > 0) throw malformed('bytes after the last parameter')
  return parameters
}

function malformed(what: string): SallyportError {
  return new SallyportError('protocol-violation', `start-up packet: ${what}`, {
    clientMessage: 'invalid startup packet layout',
    hint: 'This is a mistake of the client program.',
  })
}

/** A StartupMessage of protocol 3.0. Names and values must be free of zero bytes. */
export function startupPacket(parameters: ReadonlyMap<string, string>): Buffer {
  const parts: Buffer[] = [Buffer.alloc(8)]
  for (const [name, value] of parameters) {
    // It would start a parameter of its own.
    assert(!name.includes('\0') && !value.includes('\0'), 'start-up parameters without zero bytes')
    parts.push(Buffer.from(`${name}\0${value}\0`))
  }
  parts.push(Buffer.from([0]))
  const packet = Buffer.concat(parts)
  packet.writeUInt32BE(packet.length, 0)
  packet.writeUInt32BE(protocolMajor << 16, 4)
  return packet
}
