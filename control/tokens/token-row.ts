import type { Level, TokenScope } from '../api/names.ts'
import type { TokenView } from '../api/token-shapes.ts'
import type { PersonRow } from '../people/person-row.ts'
import { notAllowed } from '../refusals.ts'
import type { Sql } from '../store/store.ts'

/** A row of `tokens`, less its digest. */
export interface TokenRow {
  readonly id: string
  readonly kind: 'connect' | 'api'
  readonly personId: string
  readonly personEmail: string
  readonly madeAtMs: number
  readonly expiresAtMs: number
  readonly usedAtMs: number | null
  readonly revokedAtMs: number | null
  readonly resource: string | null
  readonly level: Level | null
  /** Of the certificate that it was made with. */
  readonly certificateSerial: string | null
  readonly sessionId: string | null
  readonly name: string | null
  readonly scope: TokenScope | null
}

export const tokenColumns = `
  id, kind, person_id as "personId", person_email as "personEmail", made_at_ms as "madeAtMs",
  expires_at_ms as "expiresAtMs", used_at_ms as "usedAtMs", revoked_at_ms as "revokedAtMs", resource,
  level, certificate_serial as "certificateSerial", session_id as "sessionId", name, scope`

export function stateOf(row: TokenRow, atMs: number): TokenView['state'] {
  if (row.revokedAtMs !== null) return 'revoked'
  if (row.kind === 'connect' && row.usedAtMs !== null) return 'used'
  return row.expiresAtMs <= atMs ? 'ended' : 'live'
}

export function viewOf(row: TokenRow, atMs: number): TokenView {
  const { personId: _, certificateSerial: __, ...shown } = row
  return { ...shown, state: stateOf(row, atMs) }
}

/**
 * Between the look at the certificate and now, it or its person may have been revoked. The person is locked, and the certificate is
 * held to the commit: a revocation comes before this, or after it and then finds the token. Rejects with `not-allowed`.
 */
export async function requireUnrevoked(
  sql: Sql,
  realm: string,
  person: PersonRow,
  certificateSerial: string,
): Promise<void> {
  const [certificate] = await sql.query<{ revoked: boolean }>(
    `select revoked_at_ms is not null as revoked from certificates
     where realm = $1 and serial = $2 for share`,
    [realm, certificateSerial],
  )
  if (person.state === 'active' && certificate?.revoked === false) return
  throw notAllowed('your access was revoked', 'ask an admin')
}

/** Chain and locks are the caller's. */
export async function insertToken(
  sql: Sql,
  realm: string,
  row: TokenRow,
  digest: Buffer,
): Promise<void> {
  await sql.query(
    `insert into tokens (realm, id, kind, token_hash, person_id, person_email, made_at_ms,
       expires_at_ms, resource, level, certificate_serial, name, scope)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
    [
      realm,
      row.id,
      row.kind,
      digest,
      row.personId,
      row.personEmail,
      row.madeAtMs,
      row.expiresAtMs,
      row.resource,
      row.level,
      row.certificateSerial,
      row.name,
      row.scope,
    ],
  )
}

/** Tokens of one kind that a person has and that would be taken now. The person's row is locked by the caller. */
export async function countLiveTokens(
  sql: Sql,
  realm: string,
  { personId, kind }: Pick<TokenRow, 'personId' | 'kind'>,
  atMs: number,
): Promise<number> {
  const [row] = await sql.query<{ tokens: number }>(
    `select count(*) as tokens from tokens
     where realm = $1 and person_id = $2 and kind = $3 and revoked_at_ms is null
       and expires_at_ms > $4 and (kind = 'api' or used_at_ms is null)`,
    [realm, personId, kind, atMs],
  )
  return row!.tokens
}
