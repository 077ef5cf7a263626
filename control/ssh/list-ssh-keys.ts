import type { z } from 'zod'
import type { sshKeysQuery, SshKeyView } from '../api/ssh.ts'
import type { Control } from '../control.ts'
import { readPage } from '../read-page.ts'
import { sshKeyColumns, sshKeyTables, type SshKeyRow } from './ssh-key-row.ts'

/** Registered keys, newest first; ended ones too, until they are removed. `ownerId`: only this person's. */
export async function listSshKeys(
  { realm, state }: Pick<Control, 'realm' | 'state'>,
  ownerId: string | undefined,
  query: z.output<typeof sshKeysQuery>,
): Promise<{ items: SshKeyView[]; next: string | null }> {
  return readPage(
    query,
    (page) =>
      state.query<SshKeyRow>(
        `select ${sshKeyColumns} from ${sshKeyTables}
     where k.realm = $1 and k.removed_at_ms is null
       and ($2::uuid is null or k.person_id = $2)
       and ($3::text is null or p.email = $3)
       and ($4::bigint is null or (k.added_at_ms, k.id) < ($4, $5::uuid))
     order by k.added_at_ms desc, k.id desc limit $6`,
        [realm, ownerId ?? null, query.person ?? null, ...page],
      ),
    (row) => row,
    ({ addedAtMs }) => addedAtMs,
  )
}
