/**
 * What lies in the spool's directory and how many bytes it has: segment files by boot and number, blobs. Removes what
 * was acknowledged.
 */
import { unlink } from 'node:fs/promises'
import type { SegmentHeader } from './segment-format.ts'

export interface SegmentFile extends SegmentHeader {
  readonly path: string
  /** Of its batches; `firstBatch - 1` while it has none. */
  lastBatch: number
  /** On disk. */
  bytes: number
}

export interface BlobFile {
  readonly path: string
  readonly sessionId: string
  /** Of the plaintext, hex. */
  sha256: string
  /** Of the plaintext. */
  plainBytes: number
  /** On disk. */
  bytes: number
  /** Epoch and batch that name it. */
  epoch: string
  batch: number
}

export class Ledger {
  readonly segments: SegmentFile[] = []
  readonly blobs = new Set<BlobFile>()
  /** Of everything, on disk. */
  bytes = 0

  add(segment: SegmentFile): void {
    this.segments.push(segment)
    this.bytes += segment.bytes
  }

  addBlob(blob: BlobFile): void {
    this.blobs.add(blob)
    this.bytes += blob.bytes
  }

  grow(file: SegmentFile | BlobFile, bytes: number): void {
    file.bytes += bytes
    this.bytes += bytes
  }

  async removeSegment(segment: SegmentFile): Promise<void> {
    const at = this.segments.indexOf(segment)
    if (at < 0) return
    this.segments.splice(at, 1)
    this.bytes -= segment.bytes
    await removeFile(segment.path)
  }

  async removeBlob(blob: BlobFile): Promise<void> {
    if (!this.blobs.delete(blob)) return
    this.bytes -= blob.bytes
    await removeFile(blob.path)
  }
}

/** Removes a file; one that is gone already is as good. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
