/** The recordings of one session, and how far they may run ahead of the audit. */
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Recording, RecordingHeader, RecordingKind } from '../../protocols/session.ts'
import { unwritable } from '../audit/spool-files.ts'
import type { Spool, SpoolSession } from '../audit/spool-types.ts'
import { LiveRecording } from './live-recording.ts'

export interface SessionRecordingsOptions {
  readonly spool: Pick<Spool, 'appendRecorded' | 'commitNow' | 'failure'>
  readonly spoolSession: SpoolSession
  readonly clock: Clock
  /** Of each stream of a `stream`, so much is kept. */
  readonly streamBytesMax: number
  /** Called whenever recording may go on after a `false`. */
  readonly onDrain: () => void
}

export interface SessionRecordings {
  /** Throws `audit-unwritable` or `audit-full`. */
  start(kind: RecordingKind, header: RecordingHeader): Recording
  /** Ends those that are open still. */
  endAll(): void
}

/** What was recorded and is not as durable as the session asks may be so much; from half of it on a commit is asked for. */
const aheadBytesMax = 4 * 1024 * 1024

export function createSessionRecordings(options: SessionRecordingsOptions): SessionRecordings {
  const { spool, spoolSession, clock, streamBytesMax } = options
  const open = new Set<LiveRecording>()
  let count = 0
  let aheadBytes = 0
  let askedBytes = 0
  let callerWaits = false

  const settled = (): void => {
    aheadBytes -= askedBytes
    askedBytes = 0
    ask()
    if (!callerWaits || aheadBytes >= aheadBytesMax) return
    callerWaits = false
    options.onDrain()
  }
  const ask = (): void => {
    if (askedBytes > 0 || aheadBytes < aheadBytesMax / 2) return
    askedBytes = aheadBytes
    // When the spool fails, nothing goes on: the session is cut.
    spool.commitNow(spoolSession.durability).then(settled, () => undefined)
  }

  return {
    start(kind, header) {
      if (spool.failure !== undefined) throw spool.failure
      count += 1
      const recording = new LiveRecording(kind, header, {
        number: count,
        spool,
        spoolSession,
        clock,
        streamBytesMax,
        wrote(bytes) {
          aheadBytes += bytes
          ask()
        },
        mayGoOn() {
          const may = aheadBytes < aheadBytesMax && spool.failure === undefined
          if (!may) callerWaits = true
          return may
        },
        ended: () => void open.delete(recording),
      })
      if (!recording.open()) {
        throw spool.failure ?? unwritable('a recording', new Error('the session is not open'))
      }
      open.add(recording)
      return recording
    },
    endAll() {
      for (const recording of open) recording.end()
    },
  }
}
