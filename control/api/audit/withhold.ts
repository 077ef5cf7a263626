/** Takes payloads out of a batch and puts them back; its link stays true both ways. */
import { AuditCorrupt } from './corrupt.ts'
import { decodeBatch, type Batch, type Entry } from './decode.ts'
import { batchHeaderBytes, entryFixedBytes, entryFlags } from './format.ts'
import { commitmentOf } from './link.ts'

/** The batch with a commitment in place of each payload that `keep` refuses. */
export function withholdPayloads(batch: Batch, keep: (entry: Entry) => boolean): Buffer {
  return rewrite(batch, (entry) => (keep(entry) ? entry.payload : undefined))
}

/**
 * The batch with the payloads (salt included) that `payloadOf` knows put back. Throws `AuditCorrupt` if a payload
 * is not the one that was committed to.
 */
export function restorePayloads(
  batchBytes: Buffer,
  payloadOf: (sequence: number) => Buffer | undefined,
): Buffer {
  const batch = decodeBatch(batchBytes, 0)
  return rewrite(batch, (entry) => {
    if (!entry.withheld) return entry.payload
    const payload = payloadOf(entry.sequence)
    if (payload !== undefined && !commitmentOf(payload).equals(entry.commitment!)) {
      throw new AuditCorrupt(
        entry.offset,
        `payload of entry ${entry.sequence} is not the one that was committed to`,
      )
    }
    return payload
  })
}

function rewrite(batch: Batch, payloadOf: (entry: Entry) => Buffer | undefined): Buffer {
  const parts: Buffer[] = [Buffer.from(batch.bytes.subarray(0, batchHeaderBytes))]
  for (const entry of batch.entries) {
    const metaEnd = entry.offset + entryFixedBytes + entry.meta.length
    const head = Buffer.from(batch.bytes.subarray(entry.offset, metaEnd))
    parts.push(head)
    if (entry.commitment === undefined) continue
    const payload = payloadOf(entry)
    head[1] = payload === undefined ? entryFlags.withheld : 0
    head.writeUInt32BE(payload?.length ?? entry.commitment.length, entryFixedBytes - 4)
    parts.push(payload ?? entry.commitment)
  }
  parts.push(batch.link)
  const bytes = Buffer.concat(parts)
  bytes.writeUInt32BE(bytes.length, 4)
  return bytes
}
