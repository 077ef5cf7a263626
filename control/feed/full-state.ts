/** The whole state of one group at one position, for a proxy whose cursor is of no use. */
import type { FeedEvent } from '../api/feed.ts'
import type { Resource } from '../api/resource.ts'
import type { ControlKeys } from '../keys/open-keys.ts'
import { sshKeyColumns, sshKeyEvent, sshKeyTables, type SshKeyRow } from '../ssh/ssh-key-row.ts'
import type { Store } from '../store/store.ts'
import { usedTokenMs } from '../tokens/mark-tokens-revoked.ts'

export interface FullState {
  readonly position: number
  readonly events: FeedEvent[]
}

/** Tokens of a grant may be presented this long after its end, by a clock that is behind. */
const endedGrantsMs = 60_000

export async function readFullState(
  state: Store,
  options: { realm: string; group: string; keys: ControlKeys; atMs: number },
): Promise<FullState> {
  const { realm, group, keys, atMs } = options
  return state.transaction(async (sql) => {
    // One snapshot for the position and for all that is read beside it.
    await sql.query('set transaction isolation level repeatable read, read only')
    const [head] = await sql.query<{ position: number }>(
      'select position from feed_heads where realm = $1',
      [realm],
    )
    const resources = await sql.query<{ definition: Resource }>(
      'select definition from resources where realm = $1 and group_name = $2 order by name',
      [realm, group],
    )
    const grants = await sql.query<GrantRow>(
      `select id, revision, token, revoked_at_ms as "revokedAtMs", revoke_reason as "reason"
       from grants where realm = $1 and group_name = $2 and expires_at_ms > $3 order by id`,
      [realm, group, atMs - endedGrantsMs],
    )
    const people = await sql.query<PersonRow>(
      `select id, state, revoked_at_ms as "revokedAtMs",
              certificates_valid_from_ms as "validFromMs"
       from people where realm = $1 and (state = 'revoked' or certificates_valid_from_ms > 0)
       order by id`,
      [realm],
    )
    const certificates = await sql.query<CertificateRow>(
      `select serial, revoked_at_ms as "orderedAtMs", expires_at_ms as "expiresAtMs"
       from certificates where realm = $1 and kind = 'person'
         and revoked_at_ms is not null and (expires_at_ms > $2 or revoked_at_ms > $3)
       order by serial`,
      // Also of those that have ended: what they let in lives as long as its grant.
      [realm, atMs - endedGrantsMs, atMs - usedTokenMs],
    )
    const tokens = await sql.query<CertificateRow>(
      `select id as serial, revoked_at_ms as "orderedAtMs", revoked_at_ms + $3 as "expiresAtMs"
       from tokens where realm = $1
         and ((kind = 'connect' and used_at_ms is not null) or scope = 'apps')
         and revoked_at_ms > $2 order by id`,
      [realm, atMs - usedTokenMs, usedTokenMs],
    )
    const logins = await sql.query<CertificateRow>(
      `select id as serial, ended_at_ms as "orderedAtMs", ends_at_ms as "expiresAtMs"
       from logins where realm = $1 and proxy_id is not null and ended_at_ms is not null
         and (ends_at_ms > $2 or ended_at_ms > $3) order by id`,
      [realm, atMs - endedGrantsMs, atMs - usedTokenMs],
    )
    const browsers = await sql.query<CertificateRow>(
      `select id as serial, ended_at_ms as "orderedAtMs", expires_at_ms as "expiresAtMs"
       from browser_sign_ins where realm = $1 and group_name = $3 and used_at_ms is not null
         and ended_at_ms is not null and expires_at_ms > $2 order by id`,
      [realm, atMs - endedGrantsMs, group],
    )
    const sshKeys = await sql.query<SshKeyRow>(
      `select ${sshKeyColumns} from ${sshKeyTables}
       where k.realm = $1 and k.removed_at_ms is null and k.expires_at_ms > $2
         and p.state = 'active' order by k.id`,
      [realm, atMs],
    )
    return {
      position: head!.position,
      events: [
        keysEvent(keys),
        ...authorityEvents(keys),
        ...resources.map(({ definition }) => ({ kind: 'resource', resource: definition }) as const),
        ...people.map(personEvent),
        ...[...certificates, ...tokens, ...logins, ...browsers].map(
          (row) => ({ kind: 'certificate-revoked', ...row }) as const,
        ),
        ...sshKeys.map(sshKeyEvent),
        ...grants.map(grantEvent),
      ],
    }
  })
}

export function keysEvent(keys: ControlKeys): FeedEvent {
  return { kind: 'keys', keys: keys.verificationKeys.map((key) => ({ ...key })) }
}

/** Whose certificates count: X.509's and SSH's. */
export function authorityEvents(keys: ControlKeys): FeedEvent[] {
  return [
    { kind: 'people-authorities', pems: [...keys.authoritiesPem.people] },
    { kind: 'ssh-authorities', people: [...keys.sshAuthorityLines['ssh-people']] },
  ]
}

interface GrantRow {
  readonly id: string
  readonly revision: number
  readonly token: string
  readonly revokedAtMs: number | null
  readonly reason: string | null
}

function grantEvent(row: GrantRow): FeedEvent {
  return row.revokedAtMs === null
    ? { kind: 'grant', token: row.token }
    : {
        kind: 'grant-revoked',
        grantId: row.id,
        revision: row.revision,
        orderedAtMs: row.revokedAtMs,
        reason: row.reason ?? '',
      }
}

interface PersonRow {
  readonly id: string
  readonly state: 'active' | 'revoked'
  readonly revokedAtMs: number | null
  readonly validFromMs: number
}

function personEvent(row: PersonRow): FeedEvent {
  return row.state === 'revoked'
    ? { kind: 'person-revoked', personId: row.id, orderedAtMs: row.revokedAtMs ?? row.validFromMs }
    : { kind: 'person-restored', personId: row.id, atMs: row.validFromMs }
}

interface CertificateRow {
  readonly serial: string
  readonly orderedAtMs: number
  readonly expiresAtMs: number
}
