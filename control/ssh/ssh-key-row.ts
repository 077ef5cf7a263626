import type { FeedEvent } from '../api/feed.ts'
import type { SshKeyView } from '../api/ssh.ts'
import type { FeedEntry } from '../feed/append-feed.ts'
import type { Sql } from '../store/store.ts'

/** A row of `ssh_keys` with its person's address. */
export type SshKeyRow = SshKeyView

export const sshKeyColumns = `
  k.id, k.person_id as "personId", p.email as "personEmail", k.name, k.fingerprint,
  k.public_key as "publicKey", k.added_at_ms as "addedAtMs", k.expires_at_ms as "expiresAtMs"`
export const sshKeyTables = `ssh_keys k join people p on p.realm = k.realm and p.id = k.person_id`

export function sshKeyEvent(row: SshKeyRow): FeedEvent {
  const { personId, personEmail, fingerprint, publicKey, addedAtMs, expiresAtMs } = row
  return {
    ...{ kind: 'ssh-key', personId, personEmail, fingerprint, publicKey, addedAtMs, expiresAtMs },
  }
}

/** Removes one key, all of a person, or those that were registered with these certificates. Chain is the caller's, and so is handing the entries to the feed. */
export async function markSshKeysRemoved(
  sql: Sql,
  realm: string,
  which: { id?: string; personId?: string; certificateSerials?: readonly string[] },
  how: { atMs: number; by: string },
): Promise<{ fingerprint: string; entry: FeedEntry }[]> {
  const rows = await sql.query<{ fingerprint: string }>(
    `update ssh_keys set removed_at_ms = $4, removed_by = $5
     where realm = $1 and removed_at_ms is null
       and (id = $2::uuid or person_id = $3::uuid or certificate_serial = any($6::text[]))
     returning fingerprint`,
    [
      ...[realm, which.id ?? null, which.personId ?? null, how.atMs, how.by],
      which.certificateSerials ?? [],
    ],
  )
  return rows.map(({ fingerprint }) => ({
    fingerprint,
    entry: {
      group: null,
      event: { kind: 'ssh-key-removed', fingerprint, orderedAtMs: how.atMs },
    },
  }))
}
