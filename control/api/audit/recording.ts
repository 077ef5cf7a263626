/**
 * What a recording is made of, in the entries that carry it (format.ts) and on its way to whoever replays it.
 *
 *     recording        reference: number of the recording in its session, from 1
 *       meta           part u32 | flags u8 (1: hidden) | first frame at u64 | last frame at u64
 *                      | frames u32 | bytes u32 (of what the frames hold)
 *       payload        salt 16 | part 0: JSON `RecordingTitle`; later parts: frames
 *     frame            kind u8 | at u64 (µs since the recording began) | length u32 | bytes
 *       resize         columns u16 | rows u16
 *       mark           UTF-8
 *     recording-ended  reference as above. Meta: JSON `RecordingEndedMeta`. Payload: salt 16 | JSON `RecordingStreams`
 *
 * Parts count from 0. What was typed where nothing was echoed is in parts of its own, flagged hidden, so that they can be kept
 * under another key and withheld from who may read the rest. The digest of a recording is rolled over its parts:
 *
 *     digest(0) = SHA-256("sallyport-recording" | session 16 | number u32)
 *     digest(n) = SHA-256(digest(n - 1) | commitment of the payload of the n-th part)
 *
 * so it verifies also where payloads are withheld or deleted, and can be continued from any part.
 */
import { hash } from 'node:crypto'
import type { ByteWriter } from '../../../protocols/kit/byte-writer.ts'
import { AuditCorrupt } from './corrupt.ts'

/** The numbers are on disk: append only. */
export const frameKinds = {
  client: 1,
  'client-hidden': 2,
  upstream: 3,
  'upstream-error': 4,
  resize: 5,
  mark: 6,
} as const
export type FrameKind = keyof typeof frameKinds

export const frameFixedBytes = 1 + 8 + 4
export const partMetaBytes = 4 + 1 + 8 + 8 + 4 + 4
/** Frames of one part, more than a proxy ever makes of them. */
export const partBytesMax = 8 * 1024 * 1024
const hiddenFlag = 1

export interface PartMeta {
  readonly part: number
  readonly hidden: boolean
  /** Microseconds since the recording began. */
  readonly firstUs: number
  readonly lastUs: number
  readonly frames: number
  readonly bytes: number
}

/** Payload of part 0. */
export interface RecordingTitle {
  kind: 'terminal' | 'stream'
  /** Sequence of the activity that it is a recording of; 0: none. */
  activity: number
  /** A command line, or what kind of shell. */
  title: string
  columns?: number
  rows?: number
  term?: string
}

export interface RecordingEndedMeta {
  /** Title included. */
  parts: number
  frames: number
  bytes: number
  /** Rolled over all parts, hex. */
  digest: string
  /** Bytes that could not be written, because the audit was full: then the session was cut. */
  lostBytes: number
}

/** Payload of the end: what passed in each direction, kept or not. */
export interface RecordingStreams {
  streams: {
    from: 'client' | 'client-hidden' | 'upstream' | 'upstream-error'
    /** All that passed. */
    bytes: number
    /** Of them in frames. */
    keptBytes: number
    /** Over all that passed, hex; not for terminals and not for what was hidden. */
    sha256?: string
  }[]
}

export interface Frame {
  readonly kind: FrameKind
  /** Microseconds since the recording began. */
  readonly atUs: number
  readonly bytes: Buffer
}

export function encodePartMeta(writer: ByteWriter, meta: PartMeta): void {
  writer.u32(meta.part)
  writer.u8(meta.hidden ? hiddenFlag : 0)
  writer.u64(meta.firstUs)
  writer.u64(meta.lastUs)
  writer.u32(meta.frames)
  writer.u32(meta.bytes)
}

/** Throws `AuditCorrupt`. */
export function decodePartMeta(meta: Buffer): PartMeta {
  if (meta.length !== partMetaBytes) throw new AuditCorrupt(0, 'part of a recording: wrong length')
  const flags = meta[4]!
  if ((flags & ~hiddenFlag) !== 0) throw new AuditCorrupt(4, `unknown flags ${flags}`)
  return {
    part: meta.readUInt32BE(0),
    hidden: flags === hiddenFlag,
    firstUs: u64(meta, 5),
    lastUs: u64(meta, 13),
    frames: meta.readUInt32BE(21),
    bytes: meta.readUInt32BE(25),
  }
}

/** Whether an entry's payload is to be kept under the second key. What cannot be read is kept there too. */
export function isHiddenPart(meta: Buffer): boolean {
  return meta.length !== partMetaBytes || meta[4] !== 0
}

/** Begins a frame; the caller appends its `length` bytes. */
export function beginFrame(
  writer: ByteWriter,
  kind: FrameKind,
  atUs: number,
  length: number,
): void {
  writer.u8(frameKinds[kind])
  writer.u64(atUs)
  writer.u32(length)
}

const kindOfNumber = new Map<number, FrameKind>(
  Object.entries(frameKinds).map(([name, number]) => [number, name as FrameKind]),
)

/** Frames of one part (without the salt), views of `bytes`. Kinds of a newer writer are passed over. Throws `AuditCorrupt`. */
export function decodeFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < frameFixedBytes) throw new AuditCorrupt(at, 'frame is cut off')
    const kind = kindOfNumber.get(bytes[at]!)
    const start = at + frameFixedBytes
    const end = start + bytes.readUInt32BE(at + 9)
    if (end > bytes.length) throw new AuditCorrupt(at + 9, 'frame is longer than its part')
    if (kind !== undefined) {
      const content = bytes.subarray(start, end)
      if (kind === 'resize' && content.length !== 4) throw new AuditCorrupt(start, 'not a size')
      frames.push({ kind, atUs: u64(bytes, at + 1), bytes: content })
    }
    at = end
  }
  return frames
}

/** What a `resize` frame says. */
export function sizeOf(frame: Frame): { columns: number; rows: number } {
  return { columns: frame.bytes.readUInt16BE(0), rows: frame.bytes.readUInt16BE(2) }
}

/** Digest of a recording that has no part yet. `session`: 16 bytes. */
export function emptyDigest(session: Buffer, number: number): Buffer {
  const name = Buffer.alloc(20)
  session.copy(name)
  name.writeUInt32BE(number, 16)
  return hash('sha256', Buffer.concat([Buffer.from('sallyport-recording'), name]), 'buffer')
}

/** The digest with one more part. */
export function rollDigest(digest: Buffer, commitment: Buffer): Buffer {
  return hash('sha256', Buffer.concat([digest, commitment]), 'buffer')
}

function u64(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
  if (!Number.isSafeInteger(value)) throw new AuditCorrupt(at, 'integer above 2^53 - 1')
  return value
}
