/** Readings that go on over many requests: each is on record once, and a few of them may wait for what is to come. */
import type { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { RecordedAction } from '../chain/read-action.ts'
import { decodeCursor } from './cursor.ts'
import type { AuditContext } from './dependencies.ts'

/** An action of control's own chain by its number. */
export type ReadAction = (
  number: number,
) => Promise<Pick<RecordedAction, 'action' | 'actor' | 'target' | 'atMs'> | undefined>

export interface ReadingDependencies {
  readonly context: AuditContext
  readonly readAction: ReadAction
  readonly stopping: AbortSignal
}

/** Of one kind that wait at a time, of one control. */
const waitingMax = 64
/** Then it is another reading. */
const readingMsMax = 24 * 3_600_000

interface Place {
  /** Number, in control's own chain, of the reading that this is. */
  readonly reading: number
}

export interface Readings {
  /**
   * The place that a cursor names, if it is of that person's reading of that target, as the record says. Rejects with
   * `request-invalid`: whoever makes a cursor up names their own reading, or none.
   */
  resume<Found extends Place>(
    cursor: string,
    shape: z.ZodType<Found>,
    of: {
      readonly person: string
      readonly target: string
      readonly action: (place: Found) => string
    },
  ): Promise<Found>
  /** Reads with as long to wait as was asked for, or with none where too many wait. */
  waiting<Page>(askedMs: number, read: (waitMs: number) => Promise<Page>): Promise<Page>
}

/** `noun`: what people call such a reading. */
export function createReadings(
  { context, readAction }: Pick<ReadingDependencies, 'context' | 'readAction'>,
  noun: 'watch' | 'reading',
): Readings {
  let waiting = 0
  return {
    async resume(cursor, shape, { person, target, action }) {
      const place = decodeCursor(shape, cursor)
      const reading = await readAction(place.reading)
      const isTheirs =
        reading?.action === action(place) &&
        reading.actor === person &&
        reading.target === target &&
        context.clock.wallMs() - reading.atMs < readingMsMax
      if (isTheirs) return place
      throw new SallyportError(
        'request-invalid',
        `the cursor belongs to no ${noun} of this person`,
        {
          clientMessage: `the cursor is not of a ${noun} of yours, or the ${noun} is older than a day`,
          hint: 'start again without a cursor',
        },
      )
    },

    async waiting(askedMs, read) {
      const waitMs = waiting < waitingMax ? askedMs : 0
      waiting += 1
      try {
        return await read(waitMs)
      } finally {
        waiting -= 1
      }
    },
  }
}
