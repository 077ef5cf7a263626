/** The shape of what a client sends, checked before anything is read from it. Throws `protocol-violation`. */
import { SallyportError } from '../../kit/errors.ts'
import { noTypes } from './named.ts'

/** Where the zero byte is that ends the string at `from`. */
export function zeroAt(buffer: Buffer, from: number, end: number): number {
  let at = from
  while (at < end && buffer[at] !== 0) at++
  if (at >= end) throw malformed('a string without its end')
  return at
}

/** `count i16, type i32…`, to the very end. */
export function readTypes(buffer: Buffer, at: number, end: number): Int32Array {
  const count = end - at >= 2 ? buffer.readUInt16BE(at) : -1
  if (count < 0 || at + 2 + 4 * count !== end) throw malformed('Parse')
  if (count === 0) return noTypes
  const types = new Int32Array(count)
  for (let index = 0; index < count; index++) types[index] = buffer.readInt32BE(at + 2 + 4 * index)
  return types
}

/** Checks formats and values; returns where the values end. */
function checkValues(buffer: Buffer, from: number, end: number, what: string): number {
  let at = from
  if (at + 2 > end) throw malformed(what)
  at += 2 + 2 * buffer.readUInt16BE(at)
  if (at + 2 > end) throw malformed(what)
  const count = buffer.readUInt16BE(at)
  at += 2
  for (let index = 0; index < count; index++) {
    if (at + 4 > end) throw malformed(what)
    const length = buffer.readInt32BE(at)
    at += 4
    if (length < -1 || length > end - at) throw malformed(what)
    if (length > 0) at += length
  }
  return at
}

/** Checks a Bind from its formats on; returns where its values end and the result formats begin. */
export function checkBind(buffer: Buffer, from: number, end: number): number {
  const at = checkValues(buffer, from, end, 'Bind')
  if (at + 2 > end || at + 2 + 2 * buffer.readUInt16BE(at) !== end) throw malformed('Bind')
  return at
}

export function checkFunctionCall(buffer: Buffer, from: number, end: number): void {
  if (from + 4 > end) throw malformed('FunctionCall')
  if (checkValues(buffer, from + 4, end, 'FunctionCall') + 2 !== end)
    throw malformed('FunctionCall')
}

export function malformed(what: string): SallyportError {
  return new SallyportError('protocol-violation', `malformed message of the client: ${what}`, {
    clientMessage: `invalid message format: ${what}`,
    hint: 'This is a mistake of the client program.',
  })
}
