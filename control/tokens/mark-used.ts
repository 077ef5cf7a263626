import type { Sql } from '../store/store.ts'

/** How exact the last use is kept: a write for every call would be the dearest part of it. */
const lastUseMs = 3_600_000

/** Whether a use at this moment is to be written down. */
export function isUnused({ usedAtMs }: { usedAtMs: number | null }, atMs: number): boolean {
  return usedAtMs === null || usedAtMs <= atMs - lastUseMs
}

/** Keeps the hour of an API token's last use. */
export async function markUsed(sql: Sql, realm: string, id: string, atMs: number): Promise<void> {
  await sql.query('update tokens set used_at_ms = $3 where realm = $1 and id = $2', [
    realm,
    id,
    atMs - (atMs % lastUseMs),
  ])
}
