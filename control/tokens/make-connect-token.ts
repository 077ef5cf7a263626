import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import type { connectTokenMade, connectTokenMake } from '../api/token-shapes.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createToken, tokenDigest } from '../api/token-form.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { lockPerson } from '../people/person-row.ts'
import { conflict } from '../refusals.ts'
import { countLiveTokens, insertToken, requireUnrevoked, type TokenRow } from './token-row.ts'

/** Tokens of one person that wait for their connection. */
const liveMax = 5

/**
 * Makes a token with which this person opens one connection to this resource, once, within minutes. It gives no access of its
 * own: a live grant is needed now and again when it is used. Rejects with `not-found` where there is none (also for a
 * resource that does not exist) or `conflict` when too many wait.
 */
export async function makeConnectToken(
  control: Control,
  actor: Actor,
  certificateSerial: string,
  ask: z.output<typeof connectTokenMake>,
): Promise<z.output<typeof connectTokenMade>> {
  const { realm, settings } = control
  const token = createToken('connect')
  return control.state.transaction(async (sql) => {
    // Held to the commit: a revocation comes before this, or after it and then finds this token.
    const person = await lockPerson(sql, realm, actor.id)
    await requireUnrevoked(sql, realm, person, certificateSerial)
    const madeAtMs = nowMs(control.clock)
    const [place] = await sql.query<{ domain: string }>(
      `select p.domain from grants g join proxy_groups p on p.realm = g.realm and p.name = g.group_name
       where g.realm = $1 and g.person_id = $2 and g.resource = $3
         and ($4::text is null or g.level = $4) and g.revoked_at_ms is null and g.expires_at_ms > $5
       limit 1`,
      [realm, person.id, ask.resource, ask.level ?? null, madeAtMs],
    )
    if (place === undefined) throw noGrant(ask)
    const live = await countLiveTokens(
      sql,
      realm,
      { personId: person.id, kind: 'connect' },
      madeAtMs,
    )
    if (live >= liveMax) {
      throw conflict(
        `${live} connect tokens of yours wait to be used`,
        'use them or let them end, or revoke one: sally token list, sally token revoke ID',
      )
    }
    const row: TokenRow = {
      id: randomUUID(),
      kind: 'connect',
      personId: person.id,
      personEmail: person.email,
      madeAtMs,
      expiresAtMs: madeAtMs + settings.connectTokenMs,
      usedAtMs: null,
      revokedAtMs: null,
      resource: ask.resource,
      level: ask.level ?? null,
      certificateSerial,
      sessionId: null,
      name: null,
      scope: null,
    }
    await insertToken(sql, realm, row, tokenDigest('connect', token)!)
    await appendControlAction(sql, control.chain, actor, {
      action: 'connect-token.made',
      target: row.id,
      details: { resource: row.resource, level: row.level, expiresAtMs: row.expiresAtMs },
    })
    return {
      id: row.id,
      token,
      hostname: `${ask.resource}.${place.domain}`,
      user: `${person.email}~${ask.resource}`,
      expiresAtMs: row.expiresAtMs,
    }
  })
}

/** The same for a resource that does not exist. */
function noGrant({ resource, level }: z.output<typeof connectTokenMake>): SallyportError {
  const what = level === undefined ? resource : `${level} on ${resource}`
  return new SallyportError('not-found', `no live grant for ${what}`, {
    clientMessage: `you have no live grant for ${what}`,
    hint: `ask for it: sally request ${resource} --level ${level ?? 'read'} --reason TEXT --wait`,
  })
}
