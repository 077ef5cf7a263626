/** The routes of recordings: one reading on record for each, however often it asks for the next page. */
import { SallyportError } from '../../protocols/kit/errors.ts'
import { ownScope, type Handlers } from '../server/handlers.ts'
import { decodeCursor, encodeCursor } from './cursor.ts'
import type { AuditContext } from './dependencies.ts'
import { partAt, readingPlace, readRecording, type ReadingPlace } from './read-recording.ts'
import { getRecording, listRecordings } from './recordings.ts'
import { getSession } from './sessions.ts'
import type { ReadAction } from './watches.ts'

/** Readings that wait at a time, of one control. */
const waitingMax = 64
/** Then it is another reading. */
const readingMsMax = 24 * 3_600_000

export function createRecordingHandlers({
  context,
  readAction,
  stopping,
}: {
  readonly context: AuditContext
  readonly readAction: ReadAction
  readonly stopping: AbortSignal
}): Pick<Handlers, 'recordings' | 'recordingRead'> {
  let waiting = 0

  /** A cursor is only as good as the record that it names, and reads what was typed unseen only if that record says so. */
  const resume = async (cursor: string, person: string, target: string): Promise<ReadingPlace> => {
    const place = decodeCursor(readingPlace, cursor)
    const reading = await readAction(place.reading)
    const isTheirs =
      reading?.action === actionOf(place.hidden) &&
      reading.actor === person &&
      reading.target === target &&
      context.clock.wallMs() - reading.atMs < readingMsMax
    if (isTheirs) return place
    throw new SallyportError('request-invalid', 'the cursor belongs to no reading of this person', {
      clientMessage: 'the cursor is not of a reading of yours, or the reading is older than a day',
      hint: 'start again without a cursor',
    })
  }

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
          : await resume(query.cursor, request.caller.id, target)
      const waitMs = waiting < waitingMax ? query.waitMs : 0
      waiting += 1
      try {
        const options = { bytesMax: query.bytesMax, waitMs, signal: stopping }
        const page = await readRecording(context, id, number, place, options)
        const { stored, parts, ended } = page
        return { recording: stored.view, parts, next: encodeCursor(page.place), ended }
      } finally {
        waiting -= 1
      }
    },
  }
}

function actionOf(hidden: boolean): string {
  return hidden ? 'recording.hidden-read' : 'recording.read'
}
