import { z } from 'zod'
import { decodeBatch } from '../api/audit/decode.ts'
import type { ControlActionMeta } from '../api/audit/format.ts'
import type { Sql } from '../store/store.ts'

export const actionMeta: z.ZodType<ControlActionMeta> = z.object({
  action: z.string(),
  actor: z.string(),
  actorEmail: z.string(),
  target: z.string(),
  remoteAddress: z.string(),
})

export interface RecordedAction extends ControlActionMeta {
  readonly atMs: number
}

/** One action of control's own chain by its number, without its details; undefined if there is none. */
export async function readAction(
  sql: Sql,
  realm: string,
  number: number,
): Promise<RecordedAction | undefined> {
  const [row] = await sql.query<{ skeleton: Buffer; at_ms: number }>(
    'select skeleton, at_ms from control_chain where realm = $1 and batch = $2',
    [realm, number],
  )
  if (row === undefined) return undefined
  const [entry] = decodeBatch(row.skeleton, 0).entries
  const meta = actionMeta.parse(JSON.parse(entry!.meta.toString('utf8')))
  return { ...meta, atMs: row.at_ms }
}
