/** Reads the frames of a file of the spool, past what cannot be read. */
import {
  ciphertextBytesMax,
  frameHeaderBytes,
  frameMagic,
  frameOverheadBytes,
  segmentHeaderBytes,
  type SegmentCipher,
} from './segment-format.ts'

export type Scanned =
  | { kind: 'frame'; number: number; plaintext: Buffer; offset: number }
  | {
      kind: 'unreadable'
      /** Bytes `offset` to `end - 1` of the file. */
      offset: number
      end: number
      why: string
      /** The file ends within a frame, as a write that was interrupted leaves it. */
      cutOff: boolean
    }

const magic = Buffer.alloc(4)
magic.writeUInt32BE(frameMagic)
/** Places tried for a next frame after damage, so that a hostile file cannot take for ever. */
const candidatesMax = 10_000

/**
 * The frames of a file with its header, in order. Frames whose number is below `from` (and not 0) are passed over
 * without being opened.
 */
export function* scanFrames(file: Buffer, cipher: SegmentCipher, from = 0): Generator<Scanned> {
  let offset = segmentHeaderBytes
  while (offset < file.length) {
    const frame = frameAt(file, offset)
    if (typeof frame !== 'string') {
      const number = frame.readUInt32BE(8) * 0x1_0000_0000 + frame.readUInt32BE(12)
      if (number < from && number !== 0) {
        offset += frame.length
        continue
      }
      const plaintext = cipher.open(frame)
      if (plaintext !== undefined) {
        yield { kind: 'frame', number, plaintext, offset }
        offset += frame.length
        continue
      }
    }
    const end = nextFrame(file, cipher, offset + 1)
    const cutOff = frame === cutOffText && end === file.length
    const why = typeof frame === 'string' ? frame : 'does not verify: changed since it was written'
    yield { kind: 'unreadable', offset, end, why, cutOff }
    offset = end
  }
}

const cutOffText = 'file ends within a frame'

/** The whole frame at `offset`, or why there is none. */
function frameAt(file: Buffer, offset: number): Buffer | string {
  const left = file.length - offset
  if (left < magic.length || left < frameHeaderBytes) return cutOffText
  if (file.readUInt32BE(offset) !== frameMagic) return 'no frame begins here'
  const length = file.readUInt32BE(offset + 4)
  if (length > ciphertextBytesMax) return `a frame cannot have ${length} bytes`
  if (length + frameOverheadBytes > left) return cutOffText
  return file.subarray(offset, offset + length + frameOverheadBytes)
}

/** Where the next frame that verifies begins; the file's end if there is none. */
function nextFrame(file: Buffer, cipher: SegmentCipher, from: number): number {
  let at = file.indexOf(magic, from)
  for (let tried = 0; at >= 0 && tried < candidatesMax; tried += 1) {
    const frame = frameAt(file, at)
    if (typeof frame !== 'string' && cipher.open(frame) !== undefined) return at
    at = file.indexOf(magic, at + 1)
  }
  return file.length
}
