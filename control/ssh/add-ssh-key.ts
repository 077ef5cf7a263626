import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import { verifySshKeyProof } from '../../certs/verify-ssh-key-proof.ts'
import { sshFingerprint, sshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'
import {
  sshKeyProofNamespace,
  sshKeyProofText,
  type sshKeyAdd,
  type SshKeyView,
} from '../api/ssh.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { lockPerson } from '../people/person-row.ts'
import { conflict, notAllowed } from '../refusals.ts'
import { isDuplicate } from '../store/query-error.ts'
import { requireUnrevoked } from '../tokens/token-row.ts'
import { openSshKey } from './open-ssh-key.ts'
import { reachesResources } from './reaches-resources.ts'
import { sshKeyEvent } from './ssh-key-row.ts'

const keysMax = 20

/**
 * Registers a key of the actor, which then identifies them at every proxy. They prove to hold it: otherwise somebody could
 * register another's, and be taken for the author of what that one does. It ends when an admin revokes the certificate that it is
 * registered with. Rejects with `request-invalid`, or `conflict` for a key that
 * is somebody's already or past 20 keys.
 */
export async function addSshKey(
  control: Control,
  actor: Actor,
  certificateSerial: string,
  ask: z.output<typeof sshKeyAdd>,
): Promise<SshKeyView> {
  const { realm, state } = control
  const key = openSshKey(ask.publicKey)
  verifySshKeyProof({
    publicKey: key,
    text: sshKeyProofText(realm, actor.id),
    namespace: sshKeyProofNamespace,
    proof: ask.proof,
  })
  const add = state.transaction(async (sql) => {
    const person = await lockPerson(sql, realm, actor.id)
    await requireUnrevoked(sql, realm, person, certificateSerial)
    if (!reachesResources(person.roles)) {
      throw notAllowed('an auditor reaches no resource', 'ask an admin')
    }
    const atMs = nowMs(control.clock)
    const [counted] = await sql.query<{ keys: number }>(
      `select count(*) as keys from ssh_keys
       where realm = $1 and person_id = $2 and removed_at_ms is null and expires_at_ms > $3`,
      [realm, person.id, atMs],
    )
    if (counted!.keys >= keysMax) {
      throw conflict(`you have ${counted!.keys} SSH keys already`, 'remove one: sally ssh-key')
    }
    const row: SshKeyView = {
      id: randomUUID(),
      personId: person.id,
      personEmail: person.email,
      name: ask.name,
      fingerprint: sshFingerprint(key.blob),
      publicKey: sshPublicKeyLine(key.blob),
      addedAtMs: atMs,
      expiresAtMs: atMs + ask.forMs,
    }
    // One that has ended makes room: it identifies nobody any more.
    await sql.query(
      `update ssh_keys set removed_at_ms = $3, removed_by = 'control'
       where realm = $1 and fingerprint = $2 and removed_at_ms is null and expires_at_ms <= $3`,
      [realm, row.fingerprint, atMs],
    )
    await sql.query(
      `insert into ssh_keys (realm, id, person_id, name, fingerprint, public_key, added_at_ms,
         expires_at_ms, certificate_serial) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        ...[realm, row.id, person.id, row.name, row.fingerprint, row.publicKey],
        ...[row.addedAtMs, row.expiresAtMs, certificateSerial],
      ],
    )
    await appendControlAction(sql, control.chain, actor, {
      action: 'ssh-key.added',
      target: row.fingerprint,
      details: { id: row.id, name: row.name, type: key.type, expiresAtMs: row.expiresAtMs },
    })
    await appendFeed(sql, realm, [{ group: null, event: sshKeyEvent(row) }], atMs)
    return row
  })
  return add.catch((error: unknown) => {
    if (!isDuplicate(error)) throw error
    throw conflict('this key is registered already', 'see yours: sally ssh-key; or make another')
  })
}
