/** Trades a connect token for a confirmation: once, whichever replica is asked, and only if the session may be opened. */
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Control } from '../control.ts'
import type { AskingProxy } from './confirm.ts'
import { tokenColumns, type TokenRow } from '../tokens/token-row.ts'
import {
  objection,
  readSessionFacts,
  type Question,
  type Verdict,
  type Why,
} from './session-facts.ts'

/**
 * The token's row is locked from the look at it to the commit that uses it up, so that of many who show it at a time one gets
 * in. A denial leaves it as it is: who may not open the session gains nothing by having tried.
 */
export function redeemConnectToken(
  control: Control,
  proxy: AskingProxy,
  asked: Question,
  shown: NonNullable<Question['connectToken']>,
): Promise<Verdict> {
  const { realm, state, clock, chain } = control
  const { requestId } = asked
  return state.transaction(async (sql) => {
    const [row] = await sql.query<TokenRow>(
      `select ${tokenColumns} from tokens
       where realm = $1 and kind = 'connect' and token_hash = $2 for update`,
      [realm, Buffer.from(shown.digest, 'hex')],
    )
    const atMs = nowMs(clock)
    const deny = (why: Why, position = 0): Verdict => {
      return { kind: 'denied', requestId, why, position, controlTimeMs: atMs }
    }
    const against = tokenObjection(row, asked, shown, atMs)
    if (row === undefined || against !== undefined) return deny(against ?? 'token-unknown')

    const bound: Question = {
      ...asked,
      personId: row.personId,
      certificateSerial: undefined,
      keyFingerprint: undefined,
      loginId: undefined,
      grantId: undefined,
      wanted: asked.wanted === '' ? (row.level ?? '') : asked.wanted,
    }
    const facts = await readSessionFacts(sql, realm, bound, atMs)
    const isOfNow = facts.personValidFromMs !== null && row.madeAtMs >= facts.personValidFromMs
    const evidence = isOfNow ? undefined : 'certificate-revoked'
    const why = objection(facts, bound, proxy.group, atMs, evidence)
    if (why !== undefined) return deny(why, facts.position)
    if (row.level !== null && facts.grantLevel !== row.level) return deny('no-grant')

    await sql.query(
      `update tokens set used_at_ms = $3, session_id = $4, proxy_id = $5
       where realm = $1 and id = $2`,
      [realm, row.id, atMs, asked.sessionId, proxy.proxyId],
    )
    const { personId, personEmail } = row
    await appendControlAction(
      sql,
      chain,
      { id: personId, email: personEmail, remoteAddress: shown.remoteAddress },
      {
        action: 'connect-token.used',
        target: row.id,
        details: {
          resource: row.resource,
          level: facts.grantLevel,
          sessionId: asked.sessionId,
          proxyId: proxy.proxyId,
        },
      },
    )
    return {
      kind: 'confirmed',
      requestId,
      token: facts.token!,
      redeemed: {
        tokenId: row.id,
        personId,
        personEmail,
        issuedAtMs: row.madeAtMs,
        ...(row.level === null ? {} : { level: row.level }),
      },
      position: facts.position,
      controlTimeMs: atMs,
    }
  })
}

function tokenObjection(
  row: TokenRow | undefined,
  asked: Question,
  shown: NonNullable<Question['connectToken']>,
  atMs: number,
): Why | undefined {
  if (row === undefined) return 'token-unknown'
  if (row.revokedAtMs !== null) return 'token-revoked'
  if (row.usedAtMs !== null) return 'token-used'
  if (row.expiresAtMs <= atMs) return 'token-late'
  if (row.resource !== asked.resource) return 'token-elsewhere'
  const named = shown.personEmail?.toLowerCase()
  if (named !== undefined && named !== row.personEmail) return 'token-of-another'
  return undefined
}
