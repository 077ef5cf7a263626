/**
 * One recording on its way into the audit. What a channel shows is gathered for at most 250 ms or 16 KiB and then becomes one
 * entry; what is typed becomes one at once, with everything before it, so that it is in the audit before it goes upstream.
 */
import { ByteWriter } from '../../protocols/kit/byte-writer.ts'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import type {
  RecordedFrom,
  Recording,
  RecordingHeader,
  RecordingKind,
} from '../../protocols/session.ts'
import {
  beginFrame,
  emptyDigest,
  encodePartMeta,
  frameFixedBytes,
  rollDigest,
  type FrameKind,
  type RecordingTitle,
} from '../../control/api/audit/recording.ts'
import type { RecordedSource, Spool, SpoolSession } from '../audit/spool-types.ts'
import { recordingEnd } from './recording-end.ts'
import { StreamTotals } from './stream-totals.ts'

export interface LiveRecordingOptions {
  readonly number: number
  readonly spool: Pick<Spool, 'appendRecorded'>
  readonly spoolSession: SpoolSession
  readonly clock: Clock
  readonly streamBytesMax: number
  /** So many bytes are in the audit's batch. */
  readonly wrote: (bytes: number) => void
  /** Whether the audit keeps up. */
  readonly mayGoOn: () => boolean
  readonly ended: () => void
}

export const gatherMs = 250
export const gatherBytesMax = 16 * 1024
/** One frame; longer chunks become several. */
const frameBytesMax = 1024 * 1024
/** Writes of one side so close together are one frame. */
const sameFrameUs = 1_000
const titleCharactersMax = 8_192
const sizeMax = 65_535

export class LiveRecording implements Recording, RecordedSource {
  readonly type = 'recording'
  readonly number: number
  holdsInput = false
  readonly #options: LiveRecordingOptions
  readonly #title: RecordingTitle
  readonly #totals: StreamTotals
  readonly #beganMs: number
  #digest: Buffer
  #parts = 0
  #frames = 0
  #bytes = 0
  #lostBytes = 0
  #ended = false
  #timer: Timer | undefined
  /** The part that is being gathered: frames, and the last of them where it is long enough to stand alone. */
  #pending: ByteWriter | undefined
  #direct: Buffer | undefined
  #pendingFrames = 0
  #pendingBytes = 0
  #hidden = false
  #firstUs = 0
  #lastUs = 0
  #lastKind: FrameKind | undefined
  #lastFrameAt = 0
  #lastFrameUs = 0

  constructor(kind: RecordingKind, header: RecordingHeader, options: LiveRecordingOptions) {
    const { number, spoolSession, clock, streamBytesMax } = options
    const { activity, title, columns, rows, term } = header
    this.number = number
    this.#options = options
    this.#title = {
      kind,
      activity,
      title: title.slice(0, titleCharactersMax),
      ...(columns === undefined ? {} : { columns: clampSize(columns) }),
      ...(rows === undefined ? {} : { rows: clampSize(rows) }),
      ...(term === undefined ? {} : { term: term.slice(0, 64) }),
    }
    this.#totals = new StreamTotals(kind, streamBytesMax)
    this.#beganMs = clock.monotonicMs()
    this.#digest = emptyDigest(spoolSession.idBytes, number)
  }

  /** Writes the first part. False where it cannot be written. */
  open(): boolean {
    this.#flush()
    return this.#parts === 1
  }

  write(from: RecordedFrom, bytes: Buffer): boolean {
    if (this.#ended) return true
    const { left, kept } = this.#totals.count(from, bytes)
    this.holdsInput = from === 'client' || from === 'client-hidden'
    for (let at = 0; at < kept.length; at += frameBytesMax) {
      this.#frame(from, kept.subarray(at, at + frameBytesMax))
    }
    if (left) this.mark(`no more of ${from} is kept; its digest goes on`)
    if (this.holdsInput && this.#pendingFrames > 0) this.#flush()
    this.holdsInput = false
    return this.#options.mayGoOn()
  }

  resize(columns: number, rows: number): void {
    const size = Buffer.allocUnsafe(4)
    size.writeUInt16BE(clampSize(columns), 0)
    size.writeUInt16BE(clampSize(rows), 2)
    if (!this.#ended) this.#frame('resize', size)
  }

  mark(label: string): void {
    if (!this.#ended) this.#frame('mark', Buffer.from(label.slice(0, 1_024)))
  }

  end(): void {
    if (this.#ended) return
    if (this.#pendingFrames > 0) this.#flush()
    this.#ended = true
    this.#timer?.cancel()
    const { spool, spoolSession, ended } = this.#options
    const meta = {
      parts: this.#parts,
      frames: this.#frames,
      bytes: this.#bytes,
      digest: this.#digest.toString('hex'),
      lostBytes: this.#lostBytes,
    }
    spool.appendRecorded(spoolSession, recordingEnd(this.number, meta, this.#totals.finish()))
    ended()
  }

  #nowUs(): number {
    return Math.floor((this.#options.clock.monotonicMs() - this.#beganMs) * 1_000)
  }

  #frame(kind: FrameKind, bytes: Buffer): void {
    const hidden = kind === 'client-hidden'
    const full = frameFixedBytes + bytes.length > gatherBytesMax - (this.#pending?.length ?? 0)
    if (this.#pendingFrames > 0 && (hidden !== this.#hidden || full)) this.#flush()
    const nowUs = this.#nowUs()
    this.#pending ??= new ByteWriter(1_024)
    const pending = this.#pending
    if (this.#pendingFrames === 0) {
      this.#hidden = hidden
      this.#firstUs = nowUs
      this.#arm(gatherMs)
    }
    this.#lastUs = nowUs
    this.#pendingBytes += bytes.length
    const joins =
      this.#lastKind === kind &&
      kind !== 'resize' &&
      kind !== 'mark' &&
      nowUs - this.#lastFrameUs < sameFrameUs
    if (joins) {
      pending.copy(bytes)
      pending.putU32(this.#lastFrameAt + 9, pending.length - this.#lastFrameAt - frameFixedBytes)
      return
    }
    this.#pendingFrames += 1
    this.#lastKind = kind
    this.#lastFrameAt = pending.length
    this.#lastFrameUs = nowUs
    beginFrame(pending, kind, nowUs, bytes.length)
    if (bytes.length < gatherBytesMax - frameFixedBytes) {
      pending.copy(bytes)
    } else {
      // Copied once, into the batch.
      this.#direct = bytes
      this.#flush()
    }
  }

  /** One timer at a time, and none is cancelled: a busy recording flushes by size. */
  #arm(delayMs: number): void {
    this.#timer ??= this.#options.clock.startTimer(delayMs, () => {
      this.#timer = undefined
      if (this.#ended) return
      const leftMs = gatherMs - (this.#nowUs() - this.#firstUs) / 1_000
      if (this.#pendingFrames > 0 && leftMs > 0) {
        this.#arm(leftMs)
        return
      }
      if (this.#pendingFrames > 0) this.#flush()
      // Quiet recordings hold no memory.
      this.#pending = undefined
    })
  }

  #flush(): void {
    const { spool, spoolSession, wrote } = this.#options
    const commitment = spool.appendRecorded(spoolSession, this)
    if (commitment === undefined) {
      this.#lostBytes += this.#pendingBytes
    } else {
      this.#digest = rollDigest(this.#digest, Buffer.from(commitment, 'latin1'))
      this.#parts += 1
      this.#frames += this.#pendingFrames
      this.#bytes += this.#pendingBytes
      wrote(this.#pendingBytes)
    }
    this.#pending?.reset()
    this.#direct = undefined
    this.#pendingFrames = 0
    this.#pendingBytes = 0
    this.#lastKind = undefined
  }

  encodeMeta(writer: ByteWriter): void {
    encodePartMeta(writer, {
      part: this.#parts,
      hidden: this.#pendingFrames > 0 && this.#hidden,
      firstUs: this.#pendingFrames > 0 ? this.#firstUs : 0,
      lastUs: this.#pendingFrames > 0 ? this.#lastUs : 0,
      frames: this.#pendingFrames,
      bytes: this.#pendingBytes,
    })
  }

  encodePayload(writer: ByteWriter): void {
    if (this.#parts === 0) {
      writer.utf8(JSON.stringify(this.#title))
      return
    }
    if (this.#pending !== undefined) writer.copy(this.#pending.bytes())
    if (this.#direct !== undefined) writer.copy(this.#direct)
  }
}

function clampSize(size: number): number {
  return Math.max(0, Math.min(sizeMax, Math.floor(size)))
}
