import type { Level } from '../api/names.ts'
import type { Sql } from '../store/store.ts'

/** From the audit store: sessions that were opened, and not closed as far as was shipped. */
export async function countLiveSessions(
  audit: Sql,
  realm: string,
  resource: string,
  levels: readonly Level[],
): Promise<number> {
  const [row] = await audit.query<{ sessions: number }>(
    `select count(*) as sessions from sessions
     where realm = $1 and resource = $2 and level = any($3::text[]) and closed_at_ms is null`,
    [realm, resource, levels],
  )
  return row!.sessions
}
