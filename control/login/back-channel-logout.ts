import { createHash } from 'node:crypto'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { nowMs } from '../control.ts'
import { endLogin } from './end-login.ts'
import { rememberEndedSession } from './ended-sessions.ts'
import { requireProvider, type LoginContext } from './login-context.ts'

/**
 * The provider says that somebody's session there is over (OpenID Connect Back-Channel Logout 1.0): ends every sign-in of that session, or,
 * where it names none, all of that person. A token that was acted on before is refused. Rejects with `evidence-invalid` or
 * `sign-in-unavailable`.
 */
export async function acceptBackChannelLogout(
  context: LoginContext,
  remoteAddress: string,
  token: string,
): Promise<void> {
  const { control } = context
  const { realm, state, clock } = control
  const claims = await requireProvider(context).readLogoutToken(token)
  const { issuer, sid, subject } = claims
  const atMs = nowMs(clock)
  await state.query('delete from used_logout_tokens where realm = $1 and expires_at_ms < $2', [
    realm,
    atMs,
  ])
  const digest = createHash('sha256').update(`${issuer}\n${claims.jti}`).digest()
  const before = await state.query(
    'select 1 from used_logout_tokens where realm = $1 and token_hash = $2',
    [realm, digest],
  )
  if (before.length > 0) throw usedBefore()
  if (sid !== undefined) await rememberEndedSession(control, issuer, sid)
  // With both, both must fit: a session is one person's.
  const rows = await state.query<{ id: string }>(
    `select l.id from logins l join people p on p.realm = l.realm and p.id = l.person_id
     where l.realm = $1 and l.issuer = $2 and l.ended_at_ms is null and l.ends_at_ms > $5
       and ($3::text is null or l.sid = $3)
       and ($4::text is null or p.issuer = $2 and p.subject = $4)
     order by l.begun_at_ms`,
    [realm, issuer, sid ?? null, subject ?? null, atMs],
  )
  const actor = { id: '', email: 'identity provider', remoteAddress }
  for (const { id } of rows) {
    await endLogin(context, actor, id, 'signed out at the identity provider')
  }
  // Only now: what failed on the way the provider may send again, and to end a login twice does nothing.
  const first = await state.query(
    `insert into used_logout_tokens (realm, token_hash, expires_at_ms) values ($1, $2, $3)
     on conflict do nothing returning 1`,
    [realm, digest, claims.forgetAtMs],
  )
  if (first.length === 0) throw usedBefore()
  control.log.info({ logins: rows.length }, 'the identity provider ended sign-ins')
}

function usedBefore(): SallyportError {
  return new SallyportError('evidence-invalid', 'a logout token that was used before', {
    clientMessage: 'this logout token was refused',
  })
}
