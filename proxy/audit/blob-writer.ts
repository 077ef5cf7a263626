/**
 * A text too long for a record, on its way to disk while it streams upstream. A file of the same form as a segment
 * (segment-format.ts; its header names the session instead of an epoch): frames 1, 2, … hold the text, and
 * frame 0 comes last, with `SHA-256 32 | length u64`. Without that frame the blob was never finished.
 */
import { createHash, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import type { BlobWriter } from '../../protocols/session.ts'
import type { BlobFile, Ledger } from './ledger.ts'
import {
  blobMagic,
  encodeSegmentHeader,
  frameOverheadBytes,
  SegmentCipher,
  segmentHeaderBytes,
} from './segment-format.ts'
import { full, unwritable, writeWhole, type SpoolFiles } from './spool-files.ts'
import type { SpoolSession } from './spool-types.ts'

export const blobSuffix = '.blob'
export const blobSealNumber = 0
const chunkBytes = 64 * 1024

export interface BlobWriterOptions {
  directory: string
  key: Buffer
  files: SpoolFiles
  ledger: Ledger
  session: SpoolSession
  /**
   * Of the whole spool, beyond which no blob grows: its message ends there, and with it its session. The rest is for the records
   * of everybody else, so that one person's long texts do not end all sessions.
   */
  bytesMax: number
  failed(failure: SallyportError): void
  /** Takes over the descriptor: to be synced if the session asks for it, and closed. */
  sealed(blob: BlobFile, descriptor: number): void
}

/** Throws `audit-unwritable` if the file cannot be made. Later failures reach `failed`; `finish` then throws. */
export function createBlobWriter(options: BlobWriterOptions): BlobWriter {
  const { files, ledger, session } = options
  const path = join(options.directory, `${randomUUID()}${blobSuffix}`)
  const { sessionId } = session
  const header = encodeSegmentHeader(
    { boot: 0, epoch: sessionId, file: 0, firstBatch: 0 },
    blobMagic,
  )
  const blob: BlobFile = {
    path,
    sessionId,
    sha256: '',
    plainBytes: 0,
    bytes: 0,
    epoch: '',
    batch: Infinity,
  }
  const cipher = new SegmentCipher(options.key, header)
  const digest = createHash('sha256')
  const chunk = Buffer.allocUnsafeSlow(chunkBytes)
  const frame = Buffer.allocUnsafeSlow(chunkBytes + frameOverheadBytes)
  let descriptor = -1
  let filled = 0
  let frames = 0
  let failure: SallyportError | undefined

  const put = (bytes: Buffer, length: number): void => {
    if (failure !== undefined) return
    if (ledger.bytes + length > options.bytesMax) {
      failure = full(ledger.bytes, options.bytesMax)
      return
    }
    try {
      writeWhole(files, descriptor, bytes, length)
      ledger.grow(blob, length)
    } catch (error) {
      failure = unwritable('blob', error)
      options.failed(failure)
    }
  }
  const flush = (): void => {
    if (filled === 0) return
    frames += 1
    put(frame, cipher.seal(frames, chunk.subarray(0, filled), frame))
    filled = 0
  }
  try {
    descriptor = files.create(path)
  } catch (error) {
    failure = unwritable('blob', error)
    options.failed(failure)
    throw failure
  }
  ledger.addBlob(blob)
  put(header, segmentHeaderBytes)
  let over = false
  const abandon = (): void => {
    if (over) return
    over = true
    files.close(descriptor)
    ledger.removeBlob(blob).catch((error: unknown) => options.failed(unwritable('blob', error)))
  }
  return {
    write(bytes) {
      if (over || failure !== undefined) return
      digest.update(bytes)
      blob.plainBytes += bytes.length
      for (let at = 0; at < bytes.length;) {
        const taken = bytes.copy(chunk, filled, at)
        filled += taken
        at += taken
        if (filled === chunkBytes) flush()
      }
    },
    finish() {
      if (over) throw unwritable('blob', new Error('it is over'))
      flush()
      const sha256 = digest.digest()
      const seal = Buffer.alloc(40)
      sha256.copy(seal)
      seal.writeBigUInt64BE(BigInt(blob.plainBytes), 32)
      put(frame, cipher.seal(blobSealNumber, seal, frame))
      if (failure !== undefined) {
        abandon()
        throw failure
      }
      over = true
      blob.sha256 = sha256.toString('hex')
      options.sealed(blob, descriptor)
      return { sha256, bytes: blob.plainBytes }
    },
    abandon,
  }
}
