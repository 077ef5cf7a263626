/** The digests that make the chain; see format.ts for what goes into them. */
import { hash } from 'node:crypto'
import { entryFlags, batchHeaderBytes, entryFixedBytes } from './format.ts'
import type { Batch } from './decode.ts'
import { bytesOfUuid } from './uuid.ts'

/** The previous link of an epoch's first batch. `epoch` is a UUID, as text or as its 16 bytes. */
export function genesisLink(epoch: string | Buffer): Buffer {
  const bytes = typeof epoch === 'string' ? bytesOfUuid(epoch) : epoch
  return hash('sha256', Buffer.concat([Buffer.from('sallyport-epoch', 'ascii'), bytes]), 'buffer')
}

/** Commitment of a payload, salt included. */
export function commitmentOf(payload: Uint8Array): Buffer {
  // By way of a string it costs half: no memory outside of the heap for each.
  return Buffer.from(hash('sha256', payload, 'binary'), 'latin1')
}

/** The link that a batch must end with, computed from its bytes; the same with and without its payloads. */
export function computeLink(batch: Batch): Buffer {
  const parts: Buffer[] = []
  const header = Buffer.from(batch.bytes.subarray(0, batchHeaderBytes))
  header.writeUInt32BE(0, 4)
  parts.push(header)
  for (const entry of batch.entries) {
    const metaEnd = entry.offset + entryFixedBytes + entry.meta.length
    const covered = Buffer.from(batch.bytes.subarray(entry.offset, metaEnd))
    covered[1] = covered[1]! & ~entryFlags.withheld
    covered.writeUInt32BE(entry.commitment === undefined ? 0 : 32, entryFixedBytes - 4)
    parts.push(covered)
    if (entry.commitment !== undefined) parts.push(entry.commitment)
  }
  return hash('sha256', Buffer.concat(parts), 'buffer')
}
