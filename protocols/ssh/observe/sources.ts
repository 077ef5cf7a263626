/** What the engine itself reports: commands, shells, subsystems, tunnels, settings. Observers report the rest. */
import { isUtf8 } from 'node:buffer'
import type { ActivityKind, ActivitySource, BlobReference, FieldWriter } from '../../activity.ts'
import type { Session } from '../../session.ts'

export interface ChannelActivity {
  readonly kind: ActivityKind
  readonly operation: string
  readonly channel: number
  /** A command line as it was sent, or the name of what was asked for. */
  readonly text?: Buffer
  /** `host:port` of a tunnel. */
  readonly target?: string
  /** `text` lacks what was a credential. */
  readonly isRedacted?: boolean
}

/** A text so long goes into a blob, and its beginning into the record. */
const beginningBytes = 4_096

/** Reports a thing done through a channel. Texts of more than `inlineBytesMax` become a blob. */
export function reportChannel(
  session: Session,
  activity: ChannelActivity,
  inlineBytesMax: number,
): number {
  const text = activity.text ?? Buffer.alloc(0)
  let blob: BlobReference | undefined
  if (text.length > inlineBytesMax) {
    const writer = session.spill()
    writer.write(text)
    blob = writer.finish()
  }
  const source: ActivitySource = {
    kind: activity.kind,
    encode(fields: FieldWriter) {
      if (blob !== undefined) fields.blob('textBlob', blob)
      fields.bytes('text', text, 0, blob === undefined ? text.length : beginningBytes)
      // The bytes stand as they were sent; who shows them has to know that they are no text.
      if (!isUtf8(text)) fields.utf8('encoding', 'bytes')
      if (activity.isRedacted === true) fields.empty('redacted')
      fields.utf8('operation', activity.operation)
      fields.utf8('channel', String(activity.channel))
      if (activity.target !== undefined) fields.utf8('target', activity.target)
    },
  }
  return session.report(source)
}
