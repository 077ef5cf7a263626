/** Reads a blob of the spool back, piece by piece: it may be far larger than what should be held in memory. */
import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { blobSealNumber } from './blob-writer.ts'
import {
  blobMagic,
  decodeSegmentHeader,
  frameHeaderBytes,
  frameMagic,
  SegmentCipher,
  segmentHeaderBytes,
  tagBytes,
} from './segment-format.ts'

export interface BlobFacts {
  sessionId: string
  /** Of the plaintext, hex. */
  sha256: string
  plainBytes: number
}

const pieceBytesMax = 1024 * 1024

/**
 * Verifies a blob to its end. Undefined if it was never finished. Rejects with `audit-corrupt` if it was changed.
 */
export async function checkBlob(path: string, key: Buffer): Promise<BlobFacts | undefined> {
  await using file = await open(path, 'r')
  const header = await readHeader(file)
  if (header === undefined) return undefined
  const digest = createHash('sha256')
  let plainBytes = 0
  let seal: Buffer | undefined
  for await (const { number, plaintext } of frames(path, file, header, key)) {
    if (number === blobSealNumber) {
      seal = plaintext
      continue
    }
    digest.update(plaintext)
    plainBytes += plaintext.length
  }
  if (seal === undefined) return undefined
  const sha256 = digest.digest()
  if (!sha256.equals(seal.subarray(0, 32)) || seal.readBigUInt64BE(32) !== BigInt(plainBytes)) {
    throw corrupt(path, 'its text is not what it was when it was finished')
  }
  const sessionId = decodeSegmentHeader(header, blobMagic)?.epoch
  if (sessionId === undefined) throw corrupt(path, 'not a blob')
  return { sessionId, sha256: sha256.toString('hex'), plainBytes }
}

/** The text in pieces of up to 64 KiB. Throws `audit-corrupt` where it was changed. */
export async function* blobPieces(path: string, key: Buffer): AsyncGenerator<Buffer> {
  await using file = await open(path, 'r')
  const header = await readHeader(file)
  if (header === undefined) throw corrupt(path, 'cut off')
  for await (const { number, plaintext } of frames(path, file, header, key)) {
    if (number !== blobSealNumber) yield plaintext
  }
}

async function readHeader(file: FileHandle): Promise<Buffer | undefined> {
  const header = Buffer.alloc(segmentHeaderBytes)
  const { bytesRead } = await file.read(header, 0, segmentHeaderBytes, 0)
  return bytesRead === segmentHeaderBytes ? header : undefined
}

/** Ends early where the file is cut off. */
async function* frames(
  path: string,
  file: FileHandle,
  header: Buffer,
  key: Buffer,
): AsyncGenerator<{ number: number; plaintext: Buffer }> {
  const cipher = new SegmentCipher(key, header)
  const frameHeader = Buffer.alloc(frameHeaderBytes)
  let offset = segmentHeaderBytes
  let expected = 1
  for (;;) {
    const head = await file.read(frameHeader, 0, frameHeaderBytes, offset)
    if (head.bytesRead < frameHeaderBytes) return
    const length = frameHeader.readUInt32BE(4)
    if (frameHeader.readUInt32BE(0) !== frameMagic || length > pieceBytesMax) {
      throw corrupt(path, `byte ${offset}: no frame begins here`)
    }
    const frame = Buffer.alloc(frameHeaderBytes + length + tagBytes)
    const { bytesRead } = await file.read(frame, 0, frame.length, offset)
    if (bytesRead < frame.length) return
    const plaintext = cipher.open(frame)
    const number = Number(frame.readBigUInt64BE(8))
    if (plaintext === undefined || (number !== blobSealNumber && number !== expected)) {
      throw corrupt(path, `byte ${offset}: changed since it was written`)
    }
    yield { number, plaintext }
    if (number === blobSealNumber) return
    expected += 1
    offset += frame.length
  }
}

function corrupt(path: string, why: string): SallyportError {
  return new SallyportError('audit-corrupt', `blob ${path}: ${why}`)
}
