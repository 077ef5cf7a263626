import { createHash, timingSafeEqual } from 'node:crypto'
import type { z } from 'zod'
import { challengeOf, type appFinish, type appFinished } from '../api/http.ts'
import type { Level } from '../api/names.ts'
import { signToken } from '../api/tokens.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Control } from '../control.ts'
import { signingKeyOf } from '../keys/signing-key.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { reachesResources } from '../ssh/reaches-resources.ts'
import { isRole } from '../server/authenticate.ts'
import type { Sql } from '../store/store.ts'

type Finished = z.output<typeof appFinished>

/**
 * Trades a browser's code for its session at one app. A code is good once: one that is shown wrongly (another app, another browser, another
 * group of proxies) is used up by that. The session ends with the sign-in; its grant is asked for by each session on its own, for it may
 * be extended. Rejects with `evidence-invalid`, whatever is wrong.
 */
export async function finishApp(
  control: Control,
  proxy: { readonly id: string; readonly group: string },
  ask: z.output<typeof appFinish>,
): Promise<Finished> {
  const { realm, clock } = control
  const answer = await control.state.transaction(async (sql): Promise<Finished | string> => {
    const codeHash = createHash('sha256').update(Buffer.from(ask.code, 'base64url')).digest()
    const facts = await lockFacts(sql, realm, codeHash)
    if (facts === undefined) return 'there is no such code'
    const atMs = nowMs(clock)
    const why = objection(facts, proxy, ask, atMs)
    if (why !== undefined) {
      // Nobody tries it a second time. One that was traded already stays what it is.
      await sql.query(
        `update browser_sign_ins set ended_at_ms = $3
         where realm = $1 and id = $2 and used_at_ms is null and ended_at_ms is null`,
        [realm, facts.id, atMs],
      )
      return why
    }
    await sql.query('update browser_sign_ins set used_at_ms = $3 where realm = $1 and id = $2', [
      realm,
      facts.id,
      atMs,
    ])
    const { personId, personEmail, resource, group, grantId, level, expiresAtMs } = facts
    const claims = {
      ...{ realm, signInId: facts.id, personId, personEmail, resource, group, grantId, level },
      ...{ issuedAtMs: atMs, expiresAtMs },
    }
    const session = await signToken(
      'app-session',
      claims,
      signingKeyOf(control.keys.signers.grants),
    )
    const actor = { id: personId, email: personEmail, remoteAddress: ask.remoteAddress }
    await appendControlAction(sql, control.chain, actor, {
      action: 'app.signed-in',
      target: facts.id,
      details: { ...{ resource, level, grantId, loginId: facts.loginId }, proxyId: proxy.id },
    })
    return { session, expiresAtMs }
  })
  if (typeof answer !== 'string') return answer
  throw new SallyportError('evidence-invalid', `a browser's code was refused: ${answer}`, {
    clientMessage: 'this sign-in is not known, is over, or was used already',
    hint: 'open the app again',
  })
}

interface Facts {
  readonly id: string
  readonly loginId: string
  readonly personId: string
  readonly personEmail: string
  readonly personState: string
  readonly personRoles: readonly string[]
  readonly validFromMs: number
  readonly loginBegunAtMs: number
  readonly loginEndsAtMs: number
  readonly loginEndedAtMs: number | null
  readonly resource: string
  readonly group: string
  readonly level: Level
  readonly grantId: string
  readonly grantExpiresAtMs: number
  readonly grantRevokedAtMs: number | null
  readonly challenge: string
  readonly codeEndsAtMs: number
  readonly usedAtMs: number | null
  readonly expiresAtMs: number
  readonly endedAtMs: number | null
}

/** Person and sign-in first, as everywhere, held to the commit: who is signed out meanwhile comes before this, or after it and finds it. */
async function lockFacts(sql: Sql, realm: string, codeHash: Buffer): Promise<Facts | undefined> {
  const [found] = await sql.query<{ personId: string; loginId: string }>(
    `select person_id as "personId", login_id as "loginId" from browser_sign_ins
     where realm = $1 and code_hash = $2`,
    [realm, codeHash],
  )
  if (found === undefined) return undefined
  await sql.query('select 1 from people where realm = $1 and id = $2 for share', [
    realm,
    found.personId,
  ])
  await sql.query('select 1 from logins where realm = $1 and id = $2 for update', [
    realm,
    found.loginId,
  ])
  await sql.query('select 1 from browser_sign_ins where realm = $1 and code_hash = $2 for update', [
    realm,
    codeHash,
  ])
  const [facts] = await sql.query<Facts>(
    `select b.id, b.login_id as "loginId", b.person_id as "personId", p.email as "personEmail",
       p.state as "personState", p.roles as "personRoles",
       p.certificates_valid_from_ms as "validFromMs", l.begun_at_ms as "loginBegunAtMs",
       l.ends_at_ms as "loginEndsAtMs", l.ended_at_ms as "loginEndedAtMs", b.resource,
       b.group_name as "group", b.level, b.grant_id as "grantId",
       g.expires_at_ms as "grantExpiresAtMs", g.revoked_at_ms as "grantRevokedAtMs", b.challenge,
       b.code_ends_at_ms as "codeEndsAtMs", b.used_at_ms as "usedAtMs",
       b.expires_at_ms as "expiresAtMs", b.ended_at_ms as "endedAtMs"
     from browser_sign_ins b
     join people p on p.realm = b.realm and p.id = b.person_id
     join logins l on l.realm = b.realm and l.id = b.login_id
     join grants g on g.realm = b.realm and g.id = b.grant_id
     where b.realm = $1 and b.code_hash = $2`,
    [realm, codeHash],
  )
  return facts
}

/** For the operator's log only. */
function objection(
  facts: Facts,
  proxy: { readonly group: string },
  ask: z.output<typeof appFinish>,
  atMs: number,
): string | undefined {
  if (facts.usedAtMs !== null) return 'it was used before'
  if (facts.endedAtMs !== null) return 'it was shown wrongly before, or they signed out'
  if (facts.codeEndsAtMs <= atMs) return 'it came too late'
  if (facts.group !== proxy.group) return 'it is for another group of proxies'
  if (facts.resource !== ask.resource) return 'it is for another app'
  if (!isBound(facts.challenge, ask.binding)) return 'it is another browser’s'
  if (facts.personState !== 'active') return 'the person is revoked'
  if (!reachesResources(facts.personRoles.filter(isRole))) return 'the person is an auditor'
  if (facts.loginEndedAtMs !== null || facts.loginEndsAtMs <= atMs) return 'the sign-in is over'
  if (facts.loginBegunAtMs < facts.validFromMs)
    return 'the sign-in is from before they were restored'
  if (facts.grantRevokedAtMs !== null || facts.grantExpiresAtMs <= atMs) return 'the grant is over'
  return undefined
}

function isBound(challenge: string, binding: string): boolean {
  return timingSafeEqual(Buffer.from(challengeOf(binding)), Buffer.from(challenge))
}
