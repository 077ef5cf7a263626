import type { z } from 'zod'
import type { tokensQuery, TokenView } from '../api/token-shapes.ts'
import { nowMs, type Control } from '../control.ts'
import { readPage } from '../read-page.ts'
import { tokenColumns, viewOf, type TokenRow } from './token-row.ts'

/** Newest first. `ownerId`: only this person's; undefined: everybody's. */
export async function listTokens(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  ownerId: string | undefined,
  query: z.output<typeof tokensQuery>,
): Promise<{ items: TokenView[]; next: string | null }> {
  const atMs = nowMs(clock)
  return readPage(
    query,
    (page) =>
      state.query<TokenRow>(
        `select ${tokenColumns} from tokens
     where realm = $1
       and ($2::uuid is null or person_id = $2)
       and ($3::text is null or person_email = $3)
       and ($4 or (revoked_at_ms is null and expires_at_ms > $5
         and (kind = 'api' or used_at_ms is null)))
       and ($6::bigint is null or (made_at_ms, id) < ($6, $7::uuid))
     order by made_at_ms desc, id desc limit $8`,
        [realm, ownerId ?? null, query.person ?? null, query.state === 'all', atMs, ...page],
      ),
    (row) => viewOf(row, atMs),
    ({ madeAtMs }) => madeAtMs,
  )
}
