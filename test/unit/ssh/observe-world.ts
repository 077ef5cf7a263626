/** What observers report, kept as people would read it. */
import { decodeActivity, FieldWriter, type DecodedActivity } from '../../../protocols/activity.ts'
import { ByteWriter } from '../../../protocols/kit/byte-writer.ts'
import type { AuditSink } from '../../../protocols/ssh/observe/file-activities.ts'

export interface Seen extends DecodedActivity {
  outcomes: { status: string; up: number; down: number; tag: string; code: string; text: string }[]
}

export function createSink(): AuditSink & { readonly seen: Seen[]; readonly lines: string[] } {
  const seen: Seen[] = []
  return {
    seen,
    /** `text: status`, unsettled ones with `...`. */
    get lines() {
      return seen.map(
        ({ text, outcomes }) => `${text}: ${outcomes.map(({ status }) => status).join() || '...'}`,
      )
    },
    report(source) {
      const writer = new ByteWriter(1_024)
      source.encode(new FieldWriter(writer))
      seen.push({ ...decodeActivity(Buffer.from(writer.bytes())), outcomes: [] })
      return seen.length
    },
    settle(id, { status, bytesUp, bytesDown, tag, errorCode, errorText }) {
      const of = seen[id - 1]!
      const figures = { up: bytesUp, down: bytesDown, tag }
      of.outcomes.push({ status, ...figures, code: errorCode, text: errorText })
    },
  }
}
