import { z } from 'zod'
import { id } from '../api/names.ts'
import type { tokensQuery, TokenView } from '../api/token-shapes.ts'
import { decodeCursor, encodeCursor } from '../audit/cursor.ts'
import { nowMs, type Control } from '../control.ts'
import { tokenColumns, viewOf, type TokenRow } from './token-row.ts'

const place = z.tuple([z.int().nonnegative(), id])

/** Newest first. `ownerId`: only this person's; undefined: everybody's. */
export async function listTokens(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  ownerId: string | undefined,
  query: z.output<typeof tokensQuery>,
): Promise<{ items: TokenView[]; next: string | null }> {
  const atMs = nowMs(clock)
  const [madeAtMs, after] =
    query.cursor === undefined ? [null, null] : decodeCursor(place, query.cursor)
  const rows = await state.query<TokenRow>(
    `select ${tokenColumns} from tokens
     where realm = $1
       and ($2::uuid is null or person_id = $2)
       and ($3::text is null or person_email = $3)
       and ($4 or (revoked_at_ms is null and expires_at_ms > $5
         and (kind = 'api' or used_at_ms is null)))
       and ($6::bigint is null or (made_at_ms, id) < ($6, $7::uuid))
     order by made_at_ms desc, id desc limit $8`,
    [
      realm,
      ownerId ?? null,
      query.person ?? null,
      query.state === 'all',
      atMs,
      madeAtMs,
      after,
      query.limit + 1,
    ],
  )
  const items = rows.slice(0, query.limit).map((row) => viewOf(row, atMs))
  const last = items.at(-1)
  const more = rows.length > query.limit && last !== undefined
  return { items, next: more ? encodeCursor([last.madeAtMs, last.id]) : null }
}
