import type { FeedEntry } from '../feed/append-feed.ts'
import type { Sql } from '../store/store.ts'

/** A session ends with its grant, and no grant ends later than this from now: as long, a used token can be cut off. */
export const usedTokenMs = 30 * 86_400_000

export interface RevokedToken {
  readonly id: string
  /** For the proxies: that of a token that let a session in, or may have. */
  readonly entry: FeedEntry | undefined
}

/**
 * Revokes tokens that are live, or that let in a session that may be: connect tokens by their certificate, API tokens too where it may
 * have been in others' hands. Chain and feed are the caller's.
 */
export async function markTokensRevoked(
  sql: Sql,
  realm: string,
  which: {
    id?: string
    personId?: string
    certificateSerials?: readonly string[]
    /** Also the API tokens that were made with these certificates. */
    apiTokensToo?: boolean
  },
  how: { atMs: number; by: string; reason: string },
): Promise<RevokedToken[]> {
  const rows = await sql.query<{ id: string; admitted: boolean }>(
    `update tokens set revoked_at_ms = $5, revoked_by = $6, revoke_reason = $7
     where realm = $1 and revoked_at_ms is null
       and (id = $2::uuid or person_id = $3::uuid
         or (certificate_serial = any($4::text[]) and (kind = 'connect' or $9)))
       and (expires_at_ms > $5
         or ((kind = 'connect' or scope = 'apps') and used_at_ms > $8))
     returning id, (kind = 'connect' and used_at_ms is not null) or scope = 'apps' as admitted`,
    [
      realm,
      which.id ?? null,
      which.personId ?? null,
      which.certificateSerials ?? [],
      how.atMs,
      how.by,
      how.reason,
      // A revoked person's sessions are cut by who they are; of them only what may still live is listed.
      which.personId === undefined ? 0 : how.atMs - usedTokenMs,
      which.apiTokensToo === true,
    ],
  )
  return rows.map(({ id, admitted }) => ({
    id,
    entry: admitted
      ? {
          group: null,
          // To a proxy the token's id is the serial of what its session was identified by.
          event: {
            kind: 'certificate-revoked',
            serial: id,
            orderedAtMs: how.atMs,
            expiresAtMs: how.atMs + usedTokenMs,
          },
        }
      : undefined,
  }))
}
