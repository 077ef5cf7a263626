import { restorePayloads } from '../api/audit/withhold.ts'
import type { Segment } from '../api/shapes.ts'
import type { Sql } from '../store/store.ts'
import type { ControlChain } from './append-action.ts'
import { openPayload } from './chain-payload.ts'

/** Batches of one segment: small enough to be held, large enough that a chain is few requests. */
const batchesPerSegment = 500
/** Of a segment, and of all that are read at once: a flows file alone may have a megabyte. One batch always fits. */
const bytesMaxAtOnce = 8 * 1024 * 1024

interface ChainRow {
  readonly batch: number
  readonly sequence: number
  readonly skeleton: Buffer
  readonly sealed_payload: Buffer | null
  readonly checkpoint: string
  readonly countersignature: string
  readonly at_ms: number
}

/**
 * Segments of control's own chain that follow batch `afterBatch` (0: from the start), oldest first, at most `limit`, each
 * with the signed head of its last batch; nothing that was written after `untilMs`. None: there are no more.
 */
export async function readControlSegments(
  sql: Sql,
  chain: ControlChain,
  options: {
    afterBatch: number
    limit: number
    payloads: boolean
    untilMs: number
    bytesMax?: number
  },
): Promise<Segment[]> {
  const items: Segment[] = []
  let after = options.afterBatch
  let bytesLeft = options.bytesMax ?? bytesMaxAtOnce
  while (items.length < options.limit && bytesLeft > 0) {
    const rows = await sql.query<ChainRow>(
      `select batch, sequence, skeleton, sealed_payload, checkpoint, countersignature, at_ms
       from control_chain where realm = $1 and batch > $2 order by batch limit $3`,
      [chain.realm, after, batchesPerSegment],
    )
    const chosen: ChainRow[] = []
    for (const row of rows) {
      if (row.at_ms > options.untilMs || bytesLeft <= 0) break
      bytesLeft -= row.skeleton.length + (options.payloads ? (row.sealed_payload?.length ?? 0) : 0)
      chosen.push(row)
    }
    const last = chosen.at(-1)
    if (last === undefined) break
    const bytes = chosen.map((row) => batchOf(row, chain, options.payloads))
    items.push({
      chain: 'control',
      epoch: chain.epoch,
      firstBatch: chosen[0]!.batch,
      lastBatch: last.batch,
      batches: Buffer.concat(bytes).toString('base64'),
      checkpoint: last.checkpoint,
      countersignature: last.countersignature,
      receivedAtMs: last.at_ms,
    })
    after = last.batch
    if (chosen.length < batchesPerSegment) break
  }
  return items
}

/** One batch as it goes out, with or without its payload (which the law may have taken). */
export function batchOf(
  row: Pick<ChainRow, 'sequence' | 'skeleton' | 'sealed_payload'>,
  chain: ControlChain,
  payloads: boolean,
): Buffer {
  const sealed = row.sealed_payload
  if (!payloads || sealed === null) return row.skeleton
  return restorePayloads(row.skeleton, () => openPayload(chain, row.sequence, sealed))
}
