/** UUIDs as the 16 bytes that entries and batches hold. */
import { assert } from '../../../protocols/kit/assert.ts'

const form = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Lower-case text of 16 bytes. */
export function uuidOfBytes(bytes: Buffer): string {
  assert(bytes.length === 16, 'a UUID has 16 bytes')
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

export function bytesOfUuid(uuid: string): Buffer {
  assert(form.test(uuid), 'a UUID in lower-case text')
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}
