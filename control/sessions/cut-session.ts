import { appendControlAction } from '../chain/append-action.ts'
import type { SessionView } from '../api/shapes.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { appendFeed } from '../feed/append-feed.ts'
import { conflict } from '../refusals.ts'

/** Finds a session in the audit. Rejects with `not-found`. */
export type FindSession = (sessionId: string) => Promise<SessionView>

/** Orders the proxy that has a session to cut it. Rejects with `not-found`, or `conflict` if it is over. */
export async function cutSession(
  control: Control,
  actor: Actor,
  sessionId: string,
  reason: string,
  findSession: FindSession,
): Promise<void> {
  const { realm } = control
  const session = await findSession(sessionId)
  if (session.state === 'closed') throw conflict('this session has ended already')
  await control.state.transaction(async (sql) => {
    const [proxy] = await sql.query<{ group: string }>(
      'select group_name as "group" from proxies where realm = $1 and id = $2',
      [realm, session.proxyId],
    )
    const orderedAtMs = nowMs(control.clock)
    await appendControlAction(sql, control.chain, actor, {
      action: 'session.cut',
      target: sessionId,
      details: { person: session.personEmail, resource: session.resource, reason },
    })
    await appendFeed(
      sql,
      realm,
      [
        {
          // A proxy that is not known here: then every one is told.
          group: proxy?.group ?? null,
          event: { kind: 'session-cut', sessionId, orderedAtMs, reason },
        },
      ],
      orderedAtMs,
    )
  })
}
