import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import { decodeBatch } from '../api/audit/decode.ts'
import { restorePayloads } from '../api/audit/withhold.ts'
import type { Segment, segmentsQuery } from '../api/shapes.ts'
import { decodeCursor, encodeCursor } from './cursor.ts'
import type { AuditContext } from './dependencies.ts'
import { readStoredPayloads } from './stored-payloads.ts'

/** Segments of control's own chain after batch `afterBatch`, oldest first; nothing written after `untilMs`. None: there are no more. */
export type ReadControlSegments = (range: {
  readonly afterBatch: number
  readonly limit: number
  readonly payloads: boolean
  /** Nothing that was written later: reading with payloads is itself recorded, and would never come to an end. */
  readonly untilMs: number
}) => Promise<readonly Segment[]>

export type SegmentsQuery = z.output<typeof segmentsQuery>

/** Bytes of batches on one page; one segment always fits. */
const pageBytesMax = 24 * 1024 * 1024

const controlPlace = z.strictObject({
  chain: z.literal('control'),
  batch: z.int().nonnegative(),
  /** Reading is audited and makes the chain longer: what came after the first page is for the next reading. */
  startedAtMs: z.int().nonnegative(),
})
const proxyPlace = z.strictObject({
  chain: z.int().nonnegative(),
  batch: z.int().nonnegative(),
})
const place = z.union([controlPlace, proxyPlace])

/**
 * The stored chains: control's first, then each proxy's, epoch by epoch as they came. With payloads the batches are
 * verbatim, but for what retention has destroyed. The caller has checked rights and has audited the reading.
 * Rejects with `request-invalid` for a cursor that is not ours.
 */
export async function readSegments(
  context: AuditContext,
  query: SegmentsQuery,
  readControlSegments: ReadControlSegments,
): Promise<{ items: Segment[]; next: string | null }> {
  const from: z.infer<typeof place> =
    query.cursor !== undefined
      ? decodeCursor(place, query.cursor)
      : query.proxy === undefined || query.proxy === 'control'
        ? { chain: 'control', batch: 0, startedAtMs: Math.floor(context.clock.wallMs()) }
        : { chain: 0, batch: 0 }
  if (from.chain !== 'control') return readProxySegments(context, query, from)
  const items = await readControlSegments({
    afterBatch: from.batch,
    limit: query.limit,
    payloads: query.payloads === 'with',
    untilMs: from.startedAtMs,
  })
  const last = items.at(-1)
  if (last !== undefined) {
    return { items: [...items], next: encodeCursor({ ...from, batch: last.lastBatch }) }
  }
  if (query.proxy === 'control') return { items: [], next: null }
  return readProxySegments(context, query, { chain: 0, batch: 0 })
}

interface SegmentRow {
  chain_id: number
  proxy_id: string
  epoch: string
  first_batch: number
  last_batch: number
  checkpoint: string
  countersignature: string
  received_at_ms: number
  bytes: number
}

const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

async function readProxySegments(
  context: AuditContext,
  query: SegmentsQuery,
  from: z.infer<typeof proxyPlace>,
): Promise<{ items: Segment[]; next: string | null }> {
  if (query.proxy !== undefined && !uuidForm.test(query.proxy)) return { items: [], next: null }
  const rows = await context.store.query<SegmentRow>(
    `select s.chain_id, c.proxy_id, c.epoch, s.first_batch, s.last_batch, s.checkpoint,
       s.countersignature, s.received_at_ms, greatest(s.verbatim_bytes, length(s.skeleton)) as bytes
     from audit_segments s join audit_chains c using (chain_id)
     where s.realm = $1 and (s.chain_id, s.first_batch) > ($2, $3)
       and ($4::uuid is null or c.proxy_id = $4::uuid)
     order by s.chain_id, s.first_batch limit $5`,
    [context.realm, from.chain, from.batch, query.proxy ?? null, query.limit + 1],
  )
  const items: Segment[] = []
  let bytes = 0
  for (const row of rows) {
    bytes += row.bytes
    const full = items.length === query.limit || (items.length > 0 && bytes > pageBytesMax)
    if (full) return { items, next: encodeCursor(placeBefore(rows, items.length)) }
    const batches = await readBatches(context, row, query.payloads === 'with')
    items.push({
      chain: row.proxy_id,
      epoch: row.epoch,
      firstBatch: row.first_batch,
      lastBatch: row.last_batch,
      batches: batches.toString('base64'),
      checkpoint: row.checkpoint,
      countersignature: row.countersignature,
      receivedAtMs: row.received_at_ms,
    })
    await setImmediate()
  }
  return { items, next: null }
}

function placeBefore(rows: readonly SegmentRow[], index: number): z.infer<typeof proxyPlace> {
  const { chain_id, first_batch } = rows[index - 1]!
  return { chain: chain_id, batch: first_batch }
}

async function readBatches(
  context: AuditContext,
  row: SegmentRow,
  withPayloads: boolean,
): Promise<Buffer> {
  const [stored] = await context.store.query<{ skeleton: Buffer }>(
    'select skeleton from audit_segments where chain_id = $1 and first_batch = $2',
    [row.chain_id, row.first_batch],
  )
  const skeleton = stored?.skeleton ?? Buffer.alloc(0)
  if (!withPayloads) return skeleton
  const payloads = await readStoredPayloads(context, {
    proxyId: row.proxy_id,
    epoch: row.epoch,
    chainId: row.chain_id,
    firstBatch: row.first_batch,
  })
  const parts: Buffer[] = []
  for (let offset = 0; offset < skeleton.length;) {
    const { bytes } = decodeBatch(skeleton, offset)
    parts.push(restorePayloads(bytes, (sequence) => payloads.get(sequence)))
    offset += bytes.length
  }
  return Buffer.concat(parts)
}
