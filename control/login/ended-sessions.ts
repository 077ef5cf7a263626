/**
 * Sessions that the provider said are over, while somebody may still be on their way to a sign-in of one: what the provider answered before it
 * ended would otherwise become a login that nobody ends any more.
 */
import { createHash } from 'node:crypto'
import { nowMs, type Control } from '../control.ts'
import { endLogin } from './end-login.ts'
import type { LoginContext } from './login-context.ts'
import { signInRefused } from './login-refusals.ts'
import type { ProviderIdentity } from './read-identity.ts'

/** From a provider's answer to the login that it becomes, with room; not for long, as some may name the next session alike. */
const rememberedMs = 60_000

/** To be called before logins of the session are looked for: what is begun after that look finds this. */
export async function rememberEndedSession(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  issuer: string,
  sid: string,
): Promise<void> {
  await state.query(
    `insert into used_logout_tokens (realm, token_hash, expires_at_ms) values ($1, $2, $3)
     on conflict (realm, token_hash) do update set expires_at_ms = excluded.expires_at_ms`,
    [realm, digestOf(issuer, sid), nowMs(clock) + rememberedMs],
  )
}

/**
 * To be called once a login is there, and before anybody is told of it. Ends it, and rejects with `sign-in-refused`, if its session at the
 * provider ended meanwhile.
 */
export async function requireSession(
  context: LoginContext,
  { issuer, sid }: Pick<ProviderIdentity, 'issuer' | 'sid'>,
  loginId: string,
  remoteAddress: string,
): Promise<void> {
  if (sid === undefined) return
  const { realm, state, clock } = context.control
  const found = await state.query(
    `select 1 from used_logout_tokens
     where realm = $1 and token_hash = $2 and expires_at_ms > $3`,
    [realm, digestOf(issuer, sid), nowMs(clock)],
  )
  if (found.length === 0) return
  const actor = { id: '', email: 'identity provider', remoteAddress }
  await endLogin(context, actor, loginId, 'signed out at the identity provider')
  throw signInRefused('you were signed out at the identity provider meanwhile', 'sign in again')
}

/** Never that of a token, which has two lines. */
function digestOf(issuer: string, sid: string): Buffer {
  return createHash('sha256').update(`session\n${issuer}\n${sid}`).digest()
}
