import type { FeedEntry } from '../feed/append-feed.ts'
import type { Sql } from '../store/store.ts'

/**
 * Ends what browsers have of these sign-ins: the console's sessions, and those at apps, which their proxies cut. Chain and feed are the
 * caller's. To a proxy the id of a session at an app is the serial of what its person was identified by.
 */
export async function markBrowserSessionsEnded(
  sql: Sql,
  realm: string,
  loginIds: readonly string[],
  atMs: number,
): Promise<FeedEntry[]> {
  if (loginIds.length === 0) return []
  await sql.query(
    `update console_sessions set ended_at_ms = $3
     where realm = $1 and login_id = any($2::uuid[]) and ended_at_ms is null`,
    [realm, loginIds, atMs],
  )
  const rows = await sql.query<{ id: string; group: string; used: boolean; expiresAtMs: number }>(
    `update browser_sign_ins set ended_at_ms = $3
     where realm = $1 and login_id = any($2::uuid[]) and ended_at_ms is null
     returning id, group_name as "group", used_at_ms is not null as used,
       expires_at_ms as "expiresAtMs"`,
    [realm, loginIds, atMs],
  )
  // A code that nobody traded let nobody in.
  return rows
    .filter(({ used }) => used)
    .map(({ id, group, expiresAtMs }) => ({
      group,
      event: { kind: 'certificate-revoked', serial: id, orderedAtMs: atMs, expiresAtMs },
    }))
}
