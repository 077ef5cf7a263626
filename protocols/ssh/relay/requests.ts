/** What requests of a session's channel carry (RFC 4254, chapter 6). Pure; throws `protocol-violation`. */
import { ByteReader } from '../../kit/byte-reader.ts'
import { readSshString, readSshText, requireSshEnd } from '../../kit/ssh-wire.ts'

export interface Terminal {
  term: string
  columns: number
  rows: number
}

export type Exit = { readonly status: number } | { readonly signal: string }

/** The modes behind these pass as they are. */
export function readTerminal(payload: Buffer): Terminal {
  const reader = new ByteReader(payload)
  const term = readSshText(reader, 256)
  return { term, ...readSize(reader) }
}

export function readWindow(payload: Buffer): { columns: number; rows: number } {
  return readSize(new ByteReader(payload))
}

/** A client that has no window says zero; programs then take these. */
function readSize(reader: ByteReader): { columns: number; rows: number } {
  return { columns: reader.u32() || 80, rows: reader.u32() || 24 }
}

export function readEnvironment(payload: Buffer): { name: string; value: Buffer } {
  const reader = new ByteReader(payload)
  const name = readSshString(reader, 4_096).toString('utf8')
  const value = readSshString(reader, reader.remaining)
  requireSshEnd(reader)
  return { name, value }
}

/** The only field of a request. */
export function readString(payload: Buffer): Buffer {
  const reader = new ByteReader(payload)
  const value = readSshString(reader, reader.remaining)
  requireSshEnd(reader)
  return value
}

export function readExit(type: 'exit-status' | 'exit-signal', payload: Buffer): Exit {
  const reader = new ByteReader(payload)
  if (type === 'exit-status') return { status: reader.u32() }
  return { signal: readSshText(reader, 64) }
}
