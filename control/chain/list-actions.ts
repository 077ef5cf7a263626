import { z } from 'zod'
import { decodeBatch, payloadFields } from '../api/audit/decode.ts'
import type { controlAction } from '../api/shapes.ts'
import { decodeCursor, encodeCursor } from '../audit/cursor.ts'
import type { Sql } from '../store/store.ts'
import type { ControlChain } from './append-action.ts'
import { actionMeta } from './read-action.ts'
import { batchOf } from './read-segments.ts'

type ActionView = z.output<typeof controlAction>

/** Newest first, read from the chain itself: there is no second copy that could differ. */
export async function listActions(
  sql: Sql,
  chain: ControlChain,
  query: { cursor?: string | undefined; limit: number },
): Promise<{ items: ActionView[]; next: string | null }> {
  const before =
    query.cursor === undefined
      ? Number.MAX_SAFE_INTEGER
      : decodeCursor(z.int().nonnegative(), query.cursor)
  const rows = await sql.query<{
    sequence: number
    skeleton: Buffer
    sealed_payload: Buffer | null
  }>(
    `select sequence, skeleton, sealed_payload from control_chain
     where realm = $1 and batch < $2 order by batch desc limit $3`,
    [chain.realm, before, query.limit + 1],
  )
  // One entry a batch: their numbers are the same.
  const items = rows.slice(0, query.limit).map((row) => viewOf(batchOf(row, chain, true)))
  const last = items.at(-1)
  return {
    items,
    next: rows.length > query.limit && last !== undefined ? encodeCursor(last.sequence) : null,
  }
}

function viewOf(bytes: Buffer): ActionView {
  const [entry] = decodeBatch(bytes, 0).entries
  const meta = actionMeta.parse(JSON.parse(entry!.meta.toString('utf8')))
  const payload = payloadFields(entry!)
  return {
    sequence: entry!.sequence,
    atMs: Math.floor(entry!.atUs / 1_000),
    action: meta.action,
    actorEmail: meta.actorEmail,
    target: meta.target,
    remoteAddress: meta.remoteAddress,
    details:
      payload === undefined
        ? null
        : (JSON.parse(payload.toString('utf8')) as Record<string, unknown>),
  }
}
