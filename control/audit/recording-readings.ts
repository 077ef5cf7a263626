/** The routes of recordings: one reading on record for each, however often it asks for the next page. */
import { ownScope, type Handlers } from '../server/handlers.ts'
import { encodeCursor } from './cursor.ts'
import { partAt, readingPlace, readRecording } from './read-recording.ts'
import { createReadings, type ReadingDependencies } from './readings.ts'
import { getRecording, listRecordings } from './recordings.ts'
import { getSession } from './sessions.ts'

export function createRecordingHandlers(
  dependencies: ReadingDependencies,
): Pick<Handlers, 'recordings' | 'recordingRead'> {
  const { context, stopping } = dependencies
  const readings = createReadings(dependencies, 'reading')

  return {
    async recordings({ caller }, { params }) {
      // Not of a session that they may not see.
      await getSession(context, params.id, { personId: ownScope(caller) })
      const payloads = caller.roles.includes('auditor')
      return { items: await listRecordings(context, params.id, payloads) }
    },

    async recordingRead(request, { params, query }) {
      const { id, number } = params
      // What does not exist is no reading.
      await getRecording(context, id, number)
      const target = `${id}/${number}`
      const hidden = query.hidden === '1'
      const place =
        query.cursor === undefined
          ? {
              reading: await request.audit({ action: actionOf(hidden), target, details: {} }),
              part: await partAt(context, id, number, query.fromUs),
              hidden,
            }
          : await readings.resume(query.cursor, readingPlace, {
              ...{ person: request.caller.id, target },
              // What was typed unseen is read only if the record says so.
              action: (resumed) => actionOf(resumed.hidden),
            })
      return readings.waiting(query.waitMs, async (waitMs) => {
        const options = { bytesMax: query.bytesMax, waitMs, signal: stopping }
        const page = await readRecording(context, id, number, place, options)
        const { stored, parts, ended } = page
        return { recording: stored.view, parts, next: encodeCursor(page.place), ended }
      })
    },
  }
}

function actionOf(hidden: boolean): string {
  return hidden ? 'recording.hidden-read' : 'recording.read'
}
