/** The route that follows a session: one reading on record for each watch, however often it asks. */
import type { Handler } from '../server/handlers.ts'
import { encodeCursor } from './cursor.ts'
import { createReadings, type ReadingDependencies } from './readings.ts'
import { getSession } from './sessions.ts'
import { watchPlace, watchSession } from './watch-session.ts'

export function createWatches(dependencies: ReadingDependencies): Handler<'sessionWatch'> {
  const { context, stopping } = dependencies
  const readings = createReadings(dependencies, 'watch')

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
        : await readings.resume(query.cursor, watchPlace, {
            ...{ person: request.caller.id, target: id },
            action: () => 'audit.watched',
          })
    return readings.waiting(query.waitMs, async (waitMs) => {
      const options = { limit: query.limit, waitMs, signal: stopping }
      const watched = await watchSession(context, id, place, options)
      const { session, items, ended } = watched
      return { session, items, next: encodeCursor(watched.place), ended }
    })
  }
}
