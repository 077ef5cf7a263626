import { nowMs, type Control } from '../control.ts'
import { isUnused, markUsed } from '../tokens/mark-used.ts'
import { tokenColumns, type TokenRow } from '../tokens/token-row.ts'
import type { AskingProxy } from './confirm.ts'
import {
  objection,
  readSessionFacts,
  type Question,
  type Verdict,
  type Why,
} from './session-facts.ts'

/**
 * Whether who shows an API token may open this session, and whose it is. The token stands for its person until it ends, as towards
 * control's own API; it is looked at before the facts, whose position in the feed so covers its revocation.
 */
export async function acceptApiToken(
  control: Control,
  proxy: AskingProxy,
  asked: Question,
  shown: NonNullable<Question['apiToken']>,
): Promise<Verdict> {
  const { realm, state, clock } = control
  const { requestId } = asked
  const [row] = await state.query<TokenRow>(
    `select ${tokenColumns} from tokens where realm = $1 and kind = 'api' and token_hash = $2`,
    [realm, Buffer.from(shown.digest, 'hex')],
  )
  const atMs = nowMs(clock)
  const deny = (why: Why, position = 0): Verdict => {
    return { kind: 'denied', requestId, why, position, controlTimeMs: atMs }
  }
  const against = tokenObjection(row, atMs)
  if (row === undefined || against !== undefined) return deny(against ?? 'token-unknown')

  const { sessionId, resource, wanted, protocol } = asked
  const { personId, personEmail } = row
  const bound: Question = {
    ...{ kind: 'confirm', requestId, sessionId, personId, resource, wanted, protocol },
  }
  const facts = await readSessionFacts(state, realm, bound, atMs)
  const isOfNow = facts.personValidFromMs !== null && row.madeAtMs >= facts.personValidFromMs
  const evidence = isOfNow ? undefined : 'certificate-revoked'
  const why = objection(facts, bound, proxy.group, atMs, evidence)
  if (why !== undefined) return deny(why, facts.position)
  if (isUnused(row, atMs)) await markUsed(state, realm, row.id, atMs)
  const { position } = facts
  return {
    ...{ kind: 'confirmed', requestId, position, controlTimeMs: atMs, token: facts.token! },
    redeemed: {
      ...{ tokenId: row.id, personId, personEmail },
      ...{ issuedAtMs: row.madeAtMs, expiresAtMs: row.expiresAtMs },
    },
  }
}

function tokenObjection(row: TokenRow | undefined, atMs: number): Why | undefined {
  if (row === undefined) return 'token-unknown'
  if (row.revokedAtMs !== null) return 'token-revoked'
  if (row.expiresAtMs <= atMs) return 'token-late'
  return row.scope === 'apps' ? undefined : 'token-elsewhere'
}
