import type { Person } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed, type FeedEntry } from '../feed/append-feed.ts'
import { markCertificatesRevoked, markLoginsEnded } from '../issue/revoke-certificate.ts'
import { notAllowed } from '../refusals.ts'
import { markSshKeysRemoved } from '../ssh/ssh-key-row.ts'
import { lockPerson, viewOf, type PersonRow } from './person-row.ts'

/**
 * Ends every session and certificate of a person and removes their SSH keys; their grants stay, and are of no use until the person is restored. One that
 * is revoked already is answered as it is. Nobody revokes themselves: the last admin would lock everybody out.
 */
export async function revokePerson(
  control: Control,
  actor: Actor,
  id: string,
  reason: string,
): Promise<Person> {
  const { realm } = control
  if (id === actor.id) throw notAllowed('nobody revokes themselves', 'ask another admin')
  return control.state.transaction(async (sql) => {
    const before = await lockPerson(sql, realm, id)
    if (before.state === 'revoked') return viewOf(before)
    const orderedAtMs = nowMs(control.clock)
    const row: PersonRow = { ...before, state: 'revoked', revokedAtMs: orderedAtMs }
    await sql.query(
      `update people set state = 'revoked', revoked_at_ms = $3, certificates_valid_from_ms = $3
       where realm = $1 and id = $2`,
      [realm, id, orderedAtMs],
    )
    const how = { atMs: orderedAtMs, reason }
    const browsers = await markLoginsEnded(sql, realm, { personId: id }, how)
    const certificates = await markCertificatesRevoked(
      sql,
      realm,
      { holderId: id },
      {
        atMs: orderedAtMs,
        by: actor.email,
        reason,
      },
    )
    const byWhom = { atMs: orderedAtMs, by: actor.email }
    const sshKeys = await markSshKeysRemoved(sql, realm, { personId: id }, byWhom)
    await appendControlAction(sql, control.chain, actor, {
      action: 'person.revoked',
      target: id,
      details: {
        email: row.email,
        reason,
        certificates: certificates.map((certificate) => certificate.serial),
        sshKeys: sshKeys.map(({ fingerprint }) => fingerprint),
      },
    })
    const person: FeedEntry = {
      group: null,
      event: { kind: 'person-revoked', personId: id, orderedAtMs },
    }
    await appendFeed(
      sql,
      realm,
      [person, ...[...certificates, ...sshKeys].map(({ entry }) => entry), ...browsers],
      orderedAtMs,
    )
    return viewOf(row)
  })
}
