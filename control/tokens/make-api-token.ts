import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import type { tokenMade, tokenMake } from '../api/token-shapes.ts'
import { createToken, tokenDigest } from '../api/token-form.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { lockPerson } from '../people/person-row.ts'
import { conflict } from '../refusals.ts'
import {
  countLiveTokens,
  insertToken,
  requireUnrevoked,
  viewOf,
  type TokenRow,
} from './token-row.ts'

const liveMax = 20

/**
 * Makes a token that stands for this person towards the API, as far as its scope goes. It outlives the certificate that it is made
 * with, and ends when an admin revokes that. Rejects with `conflict` past 20 live ones.
 */
export async function makeApiToken(
  control: Control,
  actor: Actor,
  certificateSerial: string,
  ask: z.output<typeof tokenMake>,
): Promise<z.output<typeof tokenMade>> {
  const { realm } = control
  const token = createToken('api')
  return control.state.transaction(async (sql) => {
    const person = await lockPerson(sql, realm, actor.id)
    await requireUnrevoked(sql, realm, person, certificateSerial)
    const madeAtMs = nowMs(control.clock)
    const live = await countLiveTokens(sql, realm, { personId: person.id, kind: 'api' }, madeAtMs)
    if (live >= liveMax) {
      throw conflict(`you have ${live} API tokens already`, 'revoke one: sally token revoke ID')
    }
    const row: TokenRow = {
      id: randomUUID(),
      kind: 'api',
      personId: person.id,
      personEmail: person.email,
      madeAtMs,
      expiresAtMs: madeAtMs + ask.forMs,
      usedAtMs: null,
      revokedAtMs: null,
      resource: null,
      level: null,
      certificateSerial,
      sessionId: null,
      name: ask.name,
      scope: ask.scope,
    }
    await insertToken(sql, realm, row, tokenDigest('api', token)!)
    await appendControlAction(sql, control.chain, actor, {
      action: 'api-token.made',
      target: row.id,
      details: { name: row.name, scope: row.scope, expiresAtMs: row.expiresAtMs },
    })
    return { ...viewOf(row, madeAtMs), token }
  })
}
