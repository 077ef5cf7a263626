import type { Level } from '../api/names.ts'
import type { KeptRequest } from '../requests/access-request.ts'
import type { Sql } from '../store/store.ts'

/** Why somebody's last session at an app is over. */
export interface LastEnd {
  readonly level: Level
  readonly atMs: number
  /** Absent: its time was over. */
  readonly revoked?: { readonly by: string; readonly reason: string }
}

/** Who comes later knows, or it is of no interest any more. */
const recentMs = 15 * 60_000

/** Undefined where it goes on, or ended some time ago. */
export async function readLastEnd(
  sql: Sql,
  realm: string,
  { personId, resource, atMs }: { personId: string; resource: string; atMs: number },
): Promise<LastEnd | undefined> {
  const [row] = await sql.query<{
    level: Level
    expiresAtMs: number
    revokedAtMs: number | null
    revokedBy: string | null
    revokeReason: string | null
  }>(
    `select g.level, g.expires_at_ms as "expiresAtMs", g.revoked_at_ms as "revokedAtMs",
       g.revoked_by as "revokedBy", g.revoke_reason as "revokeReason"
     from browser_sign_ins b join grants g on g.realm = b.realm and g.id = b.grant_id
     where b.realm = $1 and b.person_id = $2 and b.resource = $3 and b.used_at_ms is not null
     order by b.made_at_ms desc, b.id desc limit 1`,
    [realm, personId, resource],
  )
  if (row === undefined) return undefined
  const { level, revokedAtMs, revokedBy, revokeReason, expiresAtMs } = row
  const endedAtMs = revokedAtMs ?? expiresAtMs
  if (endedAtMs > atMs || endedAtMs < atMs - recentMs) return undefined
  return {
    level,
    atMs: endedAtMs,
    ...(revokedAtMs === null
      ? {}
      : { revoked: { by: revokedBy ?? '', reason: revokeReason ?? '' } }),
  }
}

/** A no to what they asked for, and nothing asked since. */
export interface LastRefusal {
  readonly level: Level
  readonly by: string
  readonly comment: string
}

export async function readLastRefusal(
  sql: Sql,
  realm: string,
  { personId, resource, atMs }: { personId: string; resource: string; atMs: number },
): Promise<LastRefusal | undefined> {
  const [row] = await sql.query<Pick<KeptRequest, 'state' | 'level' | 'decisions' | 'decidedAtMs'>>(
    `select state, level, decisions, decided_at_ms as "decidedAtMs" from requests
     where realm = $1 and person_id = $2 and resource = $3 and kind = 'access'
     order by made_at_ms desc, id desc limit 1`,
    [realm, personId, resource],
  )
  if (row?.state !== 'denied' || (row.decidedAtMs ?? 0) < atMs - recentMs) return undefined
  const no = row.decisions.findLast(({ verdict }) => verdict === 'deny')
  return { level: row.level, by: no?.personEmail ?? '', comment: no?.comment ?? '' }
}
