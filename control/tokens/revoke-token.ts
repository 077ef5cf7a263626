import type { TokenView } from '../api/token-shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { conflict, notFound } from '../refusals.ts'
import { markTokensRevoked } from './mark-tokens-revoked.ts'
import { stateOf, tokenColumns, viewOf, type TokenRow } from './token-row.ts'

/**
 * Ends a token now and cuts the session that it let in. `ownerId`: only this person's; undefined: anybody's. One that is revoked
 * already is answered as it is. Rejects with `not-found`, or `conflict` if it has ended unused.
 */
export async function revokeToken(
  control: Control,
  actor: Actor,
  ownerId: string | undefined,
  id: string,
  reason: string,
): Promise<TokenView> {
  const { realm, clock } = control
  return control.state.transaction(async (sql) => {
    const [row] = await sql.query<TokenRow>(
      `select ${tokenColumns} from tokens
       where realm = $1 and id = $2 and ($3::uuid is null or person_id = $3) for update`,
      [realm, id, ownerId ?? null],
    )
    if (row === undefined) throw notFound('token')
    const atMs = nowMs(clock)
    const state = stateOf(row, atMs)
    if (state === 'revoked') return viewOf(row, atMs)
    // One that has ended may have let in sessions that have not.
    if (state === 'ended' && row.scope !== 'apps') throw conflict('this token has ended already')
    const how = { atMs, by: actor.email, reason }
    const revoked = await markTokensRevoked(sql, realm, { id }, how)
    if (revoked.length === 0) throw conflict('this token has ended already')
    await appendControlAction(sql, control.chain, actor, {
      action: `${row.kind}-token.revoked`,
      target: id,
      details: { person: row.personEmail, reason },
    })
    const entries = revoked.flatMap(({ entry }) => entry ?? [])
    if (entries.length > 0) await appendFeed(sql, realm, entries, atMs)
    return viewOf({ ...row, revokedAtMs: atMs }, atMs)
  })
}
