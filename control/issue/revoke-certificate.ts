import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed, type FeedEntry } from '../feed/append-feed.ts'
import { notFound } from '../refusals.ts'
import { markBrowserSessionsEnded } from '../login/end-browser-sessions.ts'
import type { Sql } from '../store/store.ts'
import { markSshKeysRemoved } from '../ssh/ssh-key-row.ts'
import { markTokensRevoked } from '../tokens/mark-tokens-revoked.ts'

/**
 * Revokes one person's certificate, with the one for SSH (or of TLS) that was issued beside it, also one that has ended: it may have let in a
 * session that has not. Cuts its sessions. `lost`: it may be in others' hands, who may have made API tokens or registered SSH keys with it
 * (and then signed out, to look harmless).
 */
export async function revokeCertificate(
  control: Control,
  actor: Actor,
  serial: string,
  reason: string,
  { lost }: { readonly lost: boolean },
): Promise<void> {
  const { realm } = control
  await control.state.transaction(async (sql) => {
    // Its sign-in is locked first, as everywhere.
    await sql.query(
      `select 1 from logins where realm = $1 and id =
         (select login_id from certificates where realm = $1 and serial = $2) for update`,
      [realm, serial],
    )
    const [found] = await sql.query<{ revoked: boolean; loginId: string | null }>(
      `select revoked_at_ms is not null as revoked, login_id as "loginId" from certificates
       where realm = $1 and serial = $2 and kind = 'person' for update`,
      [realm, serial],
    )
    if (found === undefined) throw notFound('certificate')
    if (found.revoked && !lost) return
    const atMs = nowMs(control.clock)
    const how = { atMs, by: actor.email, reason }
    // With its sign-in: whoever holds this certificate may have refreshed it into another.
    const { loginId } = found
    const browsers = loginId === null ? [] : await markLoginsEnded(sql, realm, { loginId }, how)
    const serials = await readTogether(sql, realm, serial, loginId)
    const which = loginId === null ? { serials } : { loginId }
    const revoked = await markCertificatesRevoked(sql, realm, which, how)
    const certificateSerials = lost ? serials : []
    const madeWith = { certificateSerials, apiTokensToo: true }
    const tokens = await markTokensRevoked(sql, realm, madeWith, how)
    const sshKeys = await markSshKeysRemoved(sql, realm, { certificateSerials }, how)
    if (found.revoked && revoked.length + tokens.length + sshKeys.length === 0) return
    await appendControlAction(sql, control.chain, actor, {
      action: 'certificate.revoked',
      target: serial,
      details: {
        reason,
        tokens: tokens.map(({ id }) => id),
        sshKeys: sshKeys.map(({ fingerprint }) => fingerprint),
      },
    })
    const entries = [
      ...[...revoked, ...tokens, ...sshKeys].flatMap(({ entry }) => entry ?? []),
      ...browsers,
    ]
    if (entries.length > 0) await appendFeed(sql, realm, entries, atMs)
  })
}

/** A certificate, and those that stand for the same: all of its sign-in, or without one those that were issued together. */
async function readTogether(
  sql: Sql,
  realm: string,
  serial: string,
  loginId: string | null,
): Promise<string[]> {
  const rows = await sql.query<{ serial: string }>(
    `select c.serial from certificates c
     join certificates given on given.realm = c.realm and given.serial = $2
     where c.realm = $1 and c.kind = 'person'
       and (c.serial in ($2, given.issued_with)
         or c.issued_with in ($2, given.issued_with) or c.login_id = $3::uuid)`,
    [realm, serial, loginId],
  )
  return rows.map((row) => row.serial)
}

export interface RevokedCertificate {
  /** Of a certificate; the id of a connect token that was asked for with one. */
  readonly serial: string
  readonly entry: FeedEntry
}

/**
 * Revokes people's certificates: one, or all of a login, also those that have expired, for the sessions that they opened last as long as
 * their grants; or those of a person that still run, whose sessions end with the person. And what was made with them: connect tokens,
 * with the sessions that they let in, and with a person all their tokens. Chain and feed are the caller's.
 */
export async function markCertificatesRevoked(
  sql: Sql,
  realm: string,
  which: { serials?: readonly string[]; holderId?: string; loginId?: string },
  how: { atMs: number; by: string; reason: string },
): Promise<RevokedCertificate[]> {
  const rows = await sql.query<{ serial: string; expiresAtMs: number }>(
    `update certificates set revoked_at_ms = $4, revoked_by = $5, revoke_reason = $6
     where realm = $1 and kind = 'person'
       and (serial = any($2::text[]) or holder_id = $3::uuid or login_id = $7::uuid)
       and revoked_at_ms is null
       and (expires_at_ms > $4 or serial = any($2::text[]) or login_id = $7::uuid)
     returning serial, expires_at_ms as "expiresAtMs"`,
    [
      ...[realm, which.serials ?? [], which.holderId ?? null],
      ...[how.atMs, how.by, how.reason, which.loginId ?? null],
    ],
  )
  const certificates = rows.map(({ serial, expiresAtMs }): RevokedCertificate => ({
    serial,
    entry: {
      group: null,
      event: { kind: 'certificate-revoked', serial, orderedAtMs: how.atMs, expiresAtMs },
    },
  }))
  const tokens = await markTokensRevoked(
    sql,
    realm,
    {
      certificateSerials: certificates.map(({ serial }) => serial),
      ...(which.holderId === undefined ? {} : { personId: which.holderId }),
    },
    how,
  )
  const admitted = tokens.flatMap(({ id, entry }) => (entry ? [{ serial: id, entry }] : []))
  return [...certificates, ...admitted]
}

/**
 * Ends sign-ins that are not over, so that nothing is refreshed any more, and what browsers have of them. Certificates, chain and feed are
 * the caller's; the entries for it are of browsers' sessions at apps.
 */
export async function markLoginsEnded(
  sql: Sql,
  realm: string,
  which: { loginId?: string; personId?: string },
  how: { atMs: number; reason: string },
): Promise<FeedEntry[]> {
  const ended = await sql.query<{ id: string }>(
    `update logins set ended_at_ms = $4, end_reason = $5, sealed_refresh_token = null
     where realm = $1 and (id = $2::uuid or person_id = $3::uuid) and ended_at_ms is null
     returning id`,
    [realm, which.loginId ?? null, which.personId ?? null, how.atMs, how.reason],
  )
  const ids = ended.map(({ id }) => id)
  return markBrowserSessionsEnded(sql, realm, ids, how.atMs)
}
