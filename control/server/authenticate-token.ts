/** Who is behind a personal API token: `Authorization: Bearer spa_…`. */
import { createGuessLimit } from '../../protocols/kit/guess-limit.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { TokenScope } from '../api/names.ts'
import { tokenDigest } from '../api/token-form.ts'
import { nowMs, type Control } from '../control.ts'
import { isUnused, markUsed } from '../tokens/mark-used.ts'
import { isRole } from './authenticate.ts'
import type { PersonCaller } from './handlers.ts'

type Scope = Pick<Control, 'realm' | 'state' | 'clock'>

/** Rejects with `token-refused`, the same for every cause, or `rate-limited` where an address guesses. */
export type AuthenticateToken = (
  authorization: string,
  remoteAddress: string,
) => Promise<PersonCaller>

const guessesMax = 60
const guessWindowMs = 60_000

interface Row {
  readonly id: string
  readonly scope: TokenScope
  readonly madeAtMs: number
  readonly expiresAtMs: number
  readonly usedAtMs: number | null
  readonly isRevoked: boolean
  readonly personId: string
  readonly email: string
  readonly name: string
  readonly roles: string[]
  readonly groups: string[]
  readonly state: 'active' | 'revoked'
  readonly createdAtMs: number
  readonly validFromMs: number
}

export function createAuthenticateToken(control: Scope): AuthenticateToken {
  const { realm, state, clock } = control
  const guesses = createGuessLimit({ clock, perAddressMax: guessesMax, windowMs: guessWindowMs })

  async function find(authorization: string): Promise<Row> {
    const text = /^Bearer +(\S+) *$/i.exec(authorization)?.[1]
    const digest = text === undefined ? undefined : tokenDigest('api', text)
    if (digest === undefined) throw refused('it does not look like one')
    const [row] = await state.query<Row>(
      `select t.id, t.scope, t.made_at_ms as "madeAtMs", t.expires_at_ms as "expiresAtMs",
         t.used_at_ms as "usedAtMs", t.revoked_at_ms is not null as "isRevoked",
         p.id as "personId", p.email, p.name, p.roles, p.groups, p.state,
         p.created_at_ms as "createdAtMs", p.certificates_valid_from_ms as "validFromMs"
       from tokens t join people p on p.realm = t.realm and p.id = t.person_id
       where t.realm = $1 and t.kind = 'api' and t.token_hash = $2`,
      [realm, digest],
    )
    if (row === undefined) throw refused('unknown')
    if (row.isRevoked) throw refused(`${row.id} is revoked`)
    if (row.expiresAtMs <= nowMs(clock)) throw refused(`${row.id} has ended`)
    if (row.state !== 'active') throw refused(`person ${row.personId} is revoked`)
    if (row.madeAtMs < row.validFromMs) throw refused(`${row.id} is from before a revocation`)
    return row
  }

  return async (authorization, remoteAddress) => {
    guesses.require(remoteAddress)
    let row: Row
    try {
      row = await find(authorization)
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'token-refused') {
        guesses.failed(remoteAddress)
      }
      throw error
    }
    const atMs = nowMs(clock)
    if (isUnused(row, atMs)) await markUsed(state, realm, row.id, atMs)
    const { email, name, groups, createdAtMs } = row
    return {
      ...{ kind: 'person', id: row.personId, email, name, groups, createdAtMs },
      roles: row.roles.filter(isRole),
      via: 'token',
      token: { id: row.id, scope: row.scope, expiresAtMs: row.expiresAtMs },
    }
  }
}

function refused(why: string): SallyportError {
  return new SallyportError('token-refused', `API token refused: ${why}`, {
    clientMessage: 'the API token is not valid: it may be mistyped, ended or revoked',
    hint: 'sally token list shows yours; make a new one with: sally token create',
  })
}
