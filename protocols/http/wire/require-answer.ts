import type { ServerHttp2Session } from 'node:http2'
import type { Clock } from '../../kit/clock.ts'

const asked = new WeakSet<ServerHttp2Session>()

/**
 * Ends a connection of HTTP/2 on which a PING is not answered (RFC 9113, 6.7: it must be, before anything else) within `answerMs`: one that
 * takes nothing as a whole, where only a stream was seen to. Asks one at a time.
 */
export function requireAnswer(session: ServerHttp2Session, clock: Clock, answerMs: number): void {
  if (session.destroyed || asked.has(session)) return
  asked.add(session)
  const deadline = clock.startTimer(answerMs, () => session.destroy())
  // Also where the connection ended meanwhile.
  session.ping(() => {
    deadline.cancel()
    asked.delete(session)
  })
}
