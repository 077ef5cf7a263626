import type { RecordingEndedMeta, RecordingStreams } from '../../control/api/audit/recording.ts'
import type { RecordedSource } from '../audit/spool-types.ts'

/** The entry that ends a recording. */
export function recordingEnd(
  number: number,
  meta: RecordingEndedMeta,
  streams: RecordingStreams,
): RecordedSource {
  return {
    type: 'recording-ended',
    number,
    holdsInput: false,
    encodeMeta: (writer) => void writer.utf8(JSON.stringify(meta)),
    encodePayload: (writer) => void writer.utf8(JSON.stringify(streams)),
  }
}
