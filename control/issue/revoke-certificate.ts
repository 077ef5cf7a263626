import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed, type FeedEntry } from '../feed/append-feed.ts'
import { notFound } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { markTokensRevoked } from '../tokens/mark-tokens-revoked.ts'

/** Revokes one person's certificate and cuts its sessions. One that is revoked already is left as it is. */
export async function revokeCertificate(
  control: Control,
  actor: Actor,
  serial: string,
  reason: string,
): Promise<void> {
  const { realm } = control
  await control.state.transaction(async (sql) => {
    const [found] = await sql.query<{ revoked: boolean }>(
      `select revoked_at_ms is not null as revoked from certificates
       where realm = $1 and serial = $2 and kind = 'person' for update`,
      [realm, serial],
    )
    if (found === undefined) throw notFound('certificate')
    if (found.revoked) return
    const atMs = nowMs(control.clock)
    const how = { atMs, by: actor.email, reason }
    const revoked = await markCertificatesRevoked(sql, realm, { serial }, how)
    // An expired one needs no event; the record of what was done stays.
    await appendControlAction(sql, control.chain, actor, {
      action: 'certificate.revoked',
      target: serial,
      details: { reason },
    })
    const entries = revoked.map((certificate) => certificate.entry)
    if (entries.length > 0) await appendFeed(sql, realm, entries, atMs)
  })
}

export interface RevokedCertificate {
  /** Of a certificate; the id of a connect token that was asked for with one. */
  readonly serial: string
  readonly entry: FeedEntry
}

/**
 * Revokes people's certificates that still run: one, or all of a person; and what was made with them: connect tokens, with the
 * sessions that they let in, and with a person all their tokens. Chain and feed are the caller's.
 */
export async function markCertificatesRevoked(
  sql: Sql,
  realm: string,
  which: { serial?: string; holderId?: string },
  how: { atMs: number; by: string; reason: string },
): Promise<RevokedCertificate[]> {
  const rows = await sql.query<{ serial: string; expiresAtMs: number }>(
    `update certificates set revoked_at_ms = $4, revoked_by = $5, revoke_reason = $6
     where realm = $1 and kind = 'person' and (serial = $2 or holder_id = $3::uuid)
       and revoked_at_ms is null and expires_at_ms > $4
     returning serial, expires_at_ms as "expiresAtMs"`,
    [realm, which.serial ?? null, which.holderId ?? null, how.atMs, how.by, how.reason],
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
