/** Activities about files, for SFTP and SCP alike: one record when something is asked for, one outcome when it is known. */
import { createHash, type Hash } from 'node:crypto'
import type { ActivityId, Session } from '../../session.ts'
import { newOutcome, type ActivitySource, type FieldWriter, type Outcome } from '../../activity.ts'
import type { Clock } from '../../kit/clock.ts'

/** The part of a session that observing needs. */
export type AuditSink = Pick<Session, 'report' | 'settle'>

export type FileOperation =
  | 'read'
  | 'write'
  | 'read-write'
  | 'list'
  | 'make-directory'
  | 'remove'
  | 'remove-directory'
  | 'rename'
  | 'link'
  | 'symbolic-link'
  | 'read-link'
  | 'set-attributes'
  | 'copy'
  | 'other'

/** Something that was asked for and whose outcome is not known yet. */
export interface FileActivity {
  readonly id: ActivityId
  readonly startedMs: number
}

/** A path is bytes; what is not UTF-8 is kept as it was in `path`, and shown as well as it can be in `text`. */
export class FileActivities {
  readonly #sink: AuditSink
  readonly #clock: Clock
  readonly #source: FileSource
  readonly #outcome = newOutcome()

  /** @param channel number of the channel in its connection. */
  constructor(sink: AuditSink, clock: Clock, channel: number) {
    this.#sink = sink
    this.#clock = clock
    this.#source = new FileSource(String(channel))
  }

  /** Call before what asks for it is forwarded. */
  begin(operation: FileOperation, path: Buffer, target?: Buffer, remark = ''): FileActivity {
    const source = this.#source
    source.operation = operation
    source.path = path
    source.target = target
    source.remark = remark
    return { id: this.#sink.report(source), startedMs: this.#clock.monotonicMs() }
  }

  succeeded(activity: FileActivity, content?: { up: Content; down: Content }): void {
    this.#settle(activity, 'ok', '', '', content)
  }

  /** @param code the protocol's own. */
  failed(
    activity: FileActivity,
    code: string,
    message: string,
    content?: { up: Content; down: Content },
  ): void {
    this.#settle(activity, 'error', code, message, content)
  }

  /** The channel ended before the answer came. */
  cutShort(activity: FileActivity, content?: { up: Content; down: Content }): void {
    this.#settle(activity, 'cancelled', '', '', content)
  }

  #settle(
    activity: FileActivity,
    status: Outcome['status'],
    errorCode: string,
    errorText: string,
    content?: { up: Content; down: Content },
  ): void {
    const outcome = this.#outcome
    outcome.status = status
    outcome.errorCode = errorCode
    outcome.errorText = errorText
    outcome.bytesUp = content?.up.bytes ?? 0
    outcome.bytesDown = content?.down.bytes ?? 0
    outcome.tag = content === undefined ? '' : tagOf(content)
    outcome.durationUs = Math.round((this.#clock.monotonicMs() - activity.startedMs) * 1_000)
    this.#sink.settle(activity.id, outcome)
  }
}

function tagOf({ up, down }: { up: Content; down: Content }): string {
  const parts = [up.describe('written'), down.describe('read')].filter((part) => part !== '')
  return parts.join('; ').slice(0, 255)
}

class FileSource implements ActivitySource {
  readonly kind = 'fileTransfer'
  readonly #channel: string
  operation: FileOperation = 'other'
  path: Buffer = Buffer.alloc(0)
  target: Buffer | undefined
  remark = ''

  constructor(channel: string) {
    this.#channel = channel
  }

  encode(fields: FieldWriter): void {
    const { operation, path, target, remark } = this
    const to = target === undefined ? '' : ` to ${target.toString('utf8')}`
    const aside = remark === '' ? '' : ` (${remark})`
    fields.utf8('text', `${operation} ${path.toString('utf8')}${to}${aside}`)
    fields.utf8('operation', operation)
    fields.bytes('path', path)
    if (target !== undefined) fields.bytes('target', target)
    fields.utf8('channel', this.#channel)
  }
}

/** What went through one open file in one direction: how much, and the digest of it where it came in order. */
export class Content {
  #bytes = 0
  #startsAt = -1
  #next = -1
  #hash: Hash | undefined
  #inOrder = true

  get bytes(): number {
    return this.#bytes
  }

  /** @param offset where in the file these bytes belong. */
  add(offset: number, bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#bytes += bytes.length
    if (this.#startsAt < 0) {
      this.#startsAt = offset
      this.#next = offset
      this.#hash = createHash('sha256')
    }
    if (offset === this.#next && this.#inOrder) {
      this.#hash?.update(bytes)
      this.#next += bytes.length
    } else {
      // A digest of pieces in another order is no digest of the file.
      this.#inOrder = false
      this.#hash = undefined
    }
  }

  /** An empty file that was written has a digest too. */
  describe(verb: string): string {
    if (this.#startsAt < 0) return ''
    if (!this.#inOrder || this.#hash === undefined) return `${verb} out of order: no digest`
    const digest = `sha256 ${this.#hash.copy().digest('hex')}`
    return this.#startsAt === 0 ? digest : `from byte ${this.#startsAt} on: ${digest}`
  }
}
