/** The route that follows a session: one reading on record for each watch, however often it asks. */
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Handler } from '../server/handlers.ts'
import { decodeCursor, encodeCursor } from './cursor.ts'
import type { AuditContext } from './dependencies.ts'
import { getSession } from './sessions.ts'
import { watchPlace, watchSession, type WatchPlace } from './watch-session.ts'

/** An action of control's own chain by its number. */
export type ReadAction = (
  number: number,
) => Promise<{ action: string; actor: string; target: string; atMs: number } | undefined>

/** Watches that wait at a time, of one control. */
const waitingMax = 64
/** Then it is another reading. */
const watchMsMax = 24 * 3_600_000

export function createWatches({
  context,
  readAction,
  stopping,
}: {
  readonly context: AuditContext
  readonly readAction: ReadAction
  readonly stopping: AbortSignal
}): Handler<'sessionWatch'> {
  let waiting = 0

  /** A cursor is only as good as the record that it names: whoever makes one up names their own reading, or none. */
  const resume = async (cursor: string, person: string, session: string): Promise<WatchPlace> => {
    const place = decodeCursor(watchPlace, cursor)
    const reading = await readAction(place.reading)
    const isTheirs =
      reading?.action === 'audit.watched' &&
      reading.actor === person &&
      reading.target === session &&
      context.clock.wallMs() - reading.atMs < watchMsMax
    if (isTheirs) return place
    throw new SallyportError('request-invalid', 'the cursor belongs to no watch of this person', {
      clientMessage: 'the cursor is not of a watch of yours, or the watch is older than a day',
      hint: 'start again without a cursor',
    })
  }

  return async (request, { params, query }) => {
    const { id } = params
    // What does not exist is no reading.
    await getSession(context, id, { personId: undefined })
    const place =
      query.cursor === undefined
        ? {
            reading: await request.audit({ action: 'audit.watched', target: id, details: {} }),
            ...{ after: 0, afterUs: 0, open: [], last: null },
          }
        : await resume(query.cursor, request.caller.id, id)
    const waitMs = waiting < waitingMax ? query.waitMs : 0
    waiting += 1
    try {
      const options = { limit: query.limit, waitMs, signal: stopping }
      const watched = await watchSession(context, id, place, options)
      const { session, items, ended } = watched
      return { session, items, next: encodeCursor(watched.place), ended }
    } finally {
      waiting -= 1
    }
  }
}
