import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor } from '../control.ts'
import { appendFeed, type FeedEntry } from '../feed/append-feed.ts'
import { markCertificatesRevoked } from '../issue/revoke-certificate.ts'
import { markBrowserSessionsEnded } from './end-browser-sessions.ts'
import type { LoginContext } from './login-context.ts'
import { loginColumns, unsealRefreshToken, type LoginRow } from './login-row.ts'

/**
 * Ends a login: its certificates are revoked, its browser is signed out of console and apps, and all their sessions cut. One that is over already is left as it is. Tells the provider
 * afterwards, as well as it can be told.
 */
export async function endLogin(
  context: LoginContext,
  actor: Actor,
  loginId: string,
  reason: string,
): Promise<void> {
  const { control, provider } = context
  const { realm } = control
  const ended = await control.state.transaction(async (sql) => {
    const [row] = await sql.query<LoginRow>(
      `select ${loginColumns} from logins where realm = $1 and id = $2 for update`,
      [realm, loginId],
    )
    if (row === undefined || row.endedAtMs !== null) return undefined
    const atMs = nowMs(control.clock)
    await sql.query(
      `update logins set ended_at_ms = $3, end_reason = $4, sealed_refresh_token = null
       where realm = $1 and id = $2`,
      [realm, loginId, atMs, reason],
    )
    const how = { atMs, by: actor.email, reason }
    const certificates = await markCertificatesRevoked(sql, realm, { loginId }, how)
    const browsers = await markBrowserSessionsEnded(sql, realm, [loginId], atMs)
    await appendControlAction(sql, control.chain, actor, {
      action: 'login.ended',
      target: loginId,
      details: {
        reason,
        certificates: certificates.map(({ serial }) => serial),
        apps: browsers.length,
      },
    })
    const entries = [
      ...certificates.map(({ entry }) => entry),
      ...browsers,
      ...(row.proxyId === null ? [] : [endedAtTerminal(row, atMs)]),
    ]
    if (entries.length > 0) await appendFeed(sql, realm, entries, atMs)
    return row
  })
  if (ended === undefined || provider === undefined) return
  if (ended.sealedRefreshToken === null || ended.issuer !== provider.settings.issuer) return
  try {
    await provider.revoke(unsealRefreshToken(control, loginId, ended.sealedRefreshToken))
  } catch (error) {
    control.log.warn({ loginId, error: String(error) }, 'the provider was not told of a sign-out')
  }
}

/** To a proxy the id of a sign-in at a terminal is the serial of what its session was identified by. */
function endedAtTerminal({ id, endsAtMs }: LoginRow, orderedAtMs: number): FeedEntry {
  return {
    group: null,
    event: { kind: 'certificate-revoked', serial: id, orderedAtMs, expiresAtMs: endsAtMs },
  }
}
