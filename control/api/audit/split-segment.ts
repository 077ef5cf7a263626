/** Takes a segment apart into batches, past what cannot be read. */
import type { Segment } from '../shapes.ts'
import { AuditCorrupt } from './corrupt.ts'
import type { DamageList, Place } from './damage.ts'
import { decodeBatch, type Batch } from './decode.ts'
import { batchMagic } from './format.ts'

export interface PlacedBatch {
  batch: Batch
  /** Where it starts in the segment's bytes. */
  offset: number
  /** Bytes right before it could not be read. */
  afterUnreadable: boolean
}

const magic = Buffer.alloc(4)
magic.writeUInt32BE(batchMagic)

/** The batches that can be read; damage for what cannot. */
export function splitSegment(segment: Segment, place: Place, damage: DamageList): PlacedBatch[] {
  const bytes = Buffer.from(segment.batches, 'base64')
  if (bytes.toString('base64') !== segment.batches) {
    damage.add({ ...place, kind: 'unreadable', detail: 'batches are not canonical base64' })
  }
  const placed: PlacedBatch[] = []
  let offset = 0
  let afterUnreadable = false
  while (offset < bytes.length) {
    try {
      const batch = decodeBatch(bytes, offset)
      placed.push({ batch, offset, afterUnreadable })
      offset += batch.bytes.length
      afterUnreadable = false
    } catch (error) {
      if (!(error instanceof AuditCorrupt)) throw error
      const after = placed.at(-1)?.batch.number ?? segment.firstBatch - 1
      damage.add({
        ...place,
        kind: 'unreadable',
        batch: after + 1,
        offset: error.offset,
        detail: error.problem,
      })
      const next = bytes.indexOf(magic, offset + 1)
      offset = next < 0 ? bytes.length : next
      afterUnreadable = true
    }
  }
  return placed
}
