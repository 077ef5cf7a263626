import type { ConsolePerson } from './console-session.ts'
import { endLogin } from './end-login.ts'
import type { LoginContext } from './login-context.ts'

/**
 * Ends the sign-in of a browser, with its sessions at all apps, and others that the same browser made meanwhile: those of the same session
 * at the provider. Sign-ins of `sally` go on. Returns where the session at the provider ends, if it has such a place.
 */
export async function signOutBrowser(
  context: LoginContext,
  person: ConsolePerson,
  remoteAddress: string,
): Promise<{ endSessionUrl: string | null }> {
  const { control, provider } = context
  const rows = await control.state.query<{ id: string }>(
    `select l.id from logins l join logins mine
       on mine.realm = l.realm and mine.person_id = l.person_id and mine.id = $2
     where l.realm = $1 and l.ended_at_ms is null
       and (l.id = $2 or l.issuer = mine.issuer and l.sid = mine.sid
         and exists (select from console_sessions s where s.realm = l.realm and s.login_id = l.id))`,
    [control.realm, person.loginId],
  )
  const actor = { id: person.id, email: person.email, remoteAddress }
  for (const { id } of rows) await endLogin(context, actor, id, 'signed out')
  // The sign-out is done; where the provider cannot be asked, there is no link.
  return { endSessionUrl: (await provider?.endSessionUrl().catch(() => null)) ?? null }
}
