/** Shapes of recordings as the API shows them. Positions are microseconds since the recording began. */
import { z } from 'zod'
import * as names from './names.ts'

const count = z.int().nonnegative()
const recordedFrom = z.enum(['client', 'client-hidden', 'upstream', 'upstream-error'])

export const recordingStreams = z.object({
  streams: z
    .array(
      z.object({
        from: recordedFrom,
        bytes: count,
        keptBytes: count,
        sha256: z
          .string()
          .regex(/^[0-9a-f]{64}$/)
          .exactOptional(),
      }),
    )
    .max(4),
})

export const recording = z.strictObject({
  sessionId: names.id,
  number: count,
  kind: z.enum(['terminal', 'stream']),
  /**
   * `live`: it goes on. `sealed`: its end is here and fits all of it. `broken`: its end does not fit. `ended-with-proxy`: its
   * proxy died, and this is all that it had written. `ended`: its end has not been indexed yet, or never came.
   */
  state: z.enum(['live', 'sealed', 'broken', 'ended-with-proxy', 'ended']),
  /** A command line, or what kind of shell. Null for who may not read the audit, and once its retention is over. */
  title: z.string().nullable(),
  /** Sequence, in its proxy's epoch, of the activity that it is a recording of. */
  activity: count,
  columns: count.nullable(),
  rows: count.nullable(),
  term: z.string().nullable(),
  beganAtUs: count,
  /** From its beginning to the last that is here. */
  lastedUs: count,
  parts: count,
  frames: count,
  bytes: count,
  /** Bytes that could not be written, because the audit was full. */
  lostBytes: count,
  /** Rolled over the commitments of all parts that are here, hex. */
  digest: z.string(),
  /** Of a `stream`: what passed in each direction. Null for who may not read the audit. */
  streams: recordingStreams.shape.streams.nullable(),
  /** Of what ran in the channel; null while it runs, or where it was not told. */
  exitStatus: z.int().min(0).nullable(),
  /** Retention has deleted what was recorded. */
  deleted: z.boolean(),
})
export type RecordingView = z.infer<typeof recording>

export const recordingList = z.strictObject({ items: z.array(recording) })

export const recordingQuery = z.strictObject({
  /** Without one a new reading begins, which goes on record. */
  cursor: z.string().max(512).optional(),
  /** Where a new reading begins; the part that holds this moment comes first. */
  fromUs: z.coerce.number().int().nonnegative().default(0),
  /** Also what was typed where nothing was echoed: a reading of its own on record. */
  hidden: z.enum(['0', '1']).default('0'),
  /** Parts together; one always fits. */
  bytesMax: z.coerce.number().int().min(1).max(4_194_304).default(1_048_576),
  /** Answers as soon as there is something, at the latest after this. */
  waitMs: z.coerce.number().int().min(0).max(10_000).default(0),
})
export const recordingPage = z.strictObject({
  recording,
  parts: z.array(
    z.strictObject({
      part: count,
      hidden: z.boolean(),
      firstUs: count,
      lastUs: count,
      /** Frames (recording.ts), base64; null where they are hidden and were not asked for. */
      frames: z.string().nullable(),
    }),
  ),
  next: z.string(),
  /** This is the last of it, and no more will come. */
  ended: z.boolean(),
})
