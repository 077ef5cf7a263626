/**
 * One file of the spool: a header, then frames, each one encrypted batch.
 *
 *     header  magic "SPS1" | boot u64 | epoch 16 | file number u32 | first batch u64 | salt 32
 *     frame   magic "SPF1" | ciphertext length u32 | batch number u64 | ciphertext | tag 16
 *
 * Each file has its own key, HKDF-SHA256(spool key, salt of the file), so the nonce is just the batch number, which never
 * repeats in a file (NIST SP 800-38D, 8.2.1: deterministic construction). Header and frame header are
 * authenticated with each frame. The first frame of a file has batch number 0 and lists the sessions
 * that were open when the file began, so that recovery knows them when earlier files are gone.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  randomFillSync,
  type KeyObject,
} from 'node:crypto'
import { bytesOfUuid, uuidOfBytes } from '../../control/api/audit/uuid.ts'

export const segmentMagic = 0x53505331
/** "SPL1": a blob, see blob-writer.ts. */
export const blobMagic = 0x53504c31
export const segmentHeaderBytes = 4 + 8 + 16 + 4 + 8 + 32
export const frameMagic = 0x53504631
export const frameHeaderBytes = 4 + 4 + 8
export const tagBytes = 16
export const frameOverheadBytes = frameHeaderBytes + tagBytes
/** A batch and what is around it. */
export const ciphertextBytesMax = 64 * 1024 * 1024
/** Batch number of a file's first frame. */
export const carriedNumber = 0

export interface SegmentHeader {
  /** Counts the boots of this spool; orders its epochs. */
  boot: number
  epoch: string
  file: number
  firstBatch: number
}

/** Encrypts and decrypts the frames of one file. */
export class SegmentCipher {
  readonly #key: KeyObject
  /** Header of the file, then header of the frame. */
  readonly #authenticated: Buffer
  readonly #nonce = Buffer.alloc(12)

  constructor(spoolKey: Buffer, header: Buffer) {
    const salt = header.subarray(segmentHeaderBytes - 32)
    const key = hkdfSync('sha256', spoolKey, salt, 'sallyport-spool-segment', 32)
    // A KeyObject, not its bytes: createCipheriv with bytes costs four times as much.
    this.#key = createSecretKey(Buffer.from(key))
    this.#authenticated = Buffer.alloc(segmentHeaderBytes + frameHeaderBytes)
    header.copy(this.#authenticated)
  }

  #prepare(frame: Buffer): void {
    frame.copy(this.#authenticated, segmentHeaderBytes, 0, frameHeaderBytes)
    frame.copy(this.#nonce, 4, 8, 16)
  }

  /** Fills `frame` (large enough) and returns its length. `batchNumber` must never repeat in a file. */
  seal(batchNumber: number, plaintext: Buffer, frame: Buffer): number {
    const length = plaintext.length
    frame.writeUInt32BE(frameMagic, 0)
    frame.writeUInt32BE(length, 4)
    frame.writeUInt32BE(Math.floor(batchNumber / 0x1_0000_0000), 8)
    frame.writeUInt32BE(batchNumber >>> 0, 12)
    this.#prepare(frame)
    const cipher = createCipheriv('aes-256-gcm', this.#key, this.#nonce, gcm)
    cipher.setAAD(this.#authenticated)
    cipher.update(plaintext).copy(frame, frameHeaderBytes)
    // GCM has nothing left to give here; the call makes the tag.
    cipher.final()
    cipher.getAuthTag().copy(frame, frameHeaderBytes + length)
    return length + frameOverheadBytes
  }

  /** The plaintext of a whole frame; undefined if it does not verify. */
  open(frame: Buffer): Buffer | undefined {
    this.#prepare(frame)
    const decipher = createDecipheriv('aes-256-gcm', this.#key, this.#nonce, gcm)
    decipher.setAAD(this.#authenticated)
    decipher.setAuthTag(frame.subarray(frame.length - tagBytes))
    try {
      const plaintext = decipher.update(frame.subarray(frameHeaderBytes, frame.length - tagBytes))
      decipher.final()
      return plaintext
    } catch {
      return undefined
    }
  }
}

const gcm = { authTagLength: tagBytes }

/** With a salt of its own. */
export function encodeSegmentHeader(header: SegmentHeader, magic = segmentMagic): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes)
  bytes.writeUInt32BE(magic, 0)
  bytes.writeBigUInt64BE(BigInt(header.boot), 4)
  bytesOfUuid(header.epoch).copy(bytes, 12)
  bytes.writeUInt32BE(header.file, 28)
  bytes.writeBigUInt64BE(BigInt(header.firstBatch), 32)
  randomFillSync(bytes, 40)
  return bytes
}

/** Undefined for bytes that are no header. */
export function decodeSegmentHeader(
  bytes: Buffer,
  magic = segmentMagic,
): SegmentHeader | undefined {
  if (bytes.length < segmentHeaderBytes || bytes.readUInt32BE(0) !== magic) return undefined
  return {
    boot: Number(bytes.readBigUInt64BE(4)),
    epoch: uuidOfBytes(bytes.subarray(12, 28)),
    file: bytes.readUInt32BE(28),
    firstBatch: Number(bytes.readBigUInt64BE(32)),
  }
}

/** `<boot>-<epoch>-<file>.segment`, so that names sort as they were written. */
export function segmentFileName({ boot, epoch, file }: SegmentHeader): string {
  return `${String(boot).padStart(12, '0')}-${epoch}-${String(file).padStart(8, '0')}.segment`
}

const nameForm = /^(\d{12})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(\d{8})\.segment$/

/** What the name says; undefined for another file. */
export function parseSegmentFileName(name: string): Omit<SegmentHeader, 'firstBatch'> | undefined {
  const match = nameForm.exec(name)
  if (match === null) return undefined
  return { boot: Number(match[1]), epoch: match[2]!, file: Number(match[3]) }
}
