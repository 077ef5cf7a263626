/**
 * One fdatasync for all that wait for it: it covers every batch that was written before it started, and those that
 * ask meanwhile share the next one.
 */
import type { Clock } from '../../protocols/kit/clock.ts'
import type { SegmentWriter } from './segment-writer.ts'
import type { SpoolFiles } from './spool-files.ts'

export interface GroupSyncOptions {
  files: SpoolFiles
  directory: string
  writer: SegmentWriter
  clock: Clock
  /** Last batch written. */
  written(): number
  /** All batches up to this one are on the disk. */
  synced(batch: number): void
  failed(cause: unknown): void
}

export class GroupSync {
  readonly #options: GroupSyncOptions
  readonly #blobs: number[] = []
  #running = false
  #wanted = false
  /** Last batch that the running one makes durable. */
  #covers = 0
  #stopped = false
  syncs = 0
  syncUs = 0

  constructor(options: GroupSyncOptions) {
    this.#options = options
  }

  /** A sealed blob's file, to be synced with the batches and closed. */
  addBlob(descriptor: number): void {
    this.#blobs.push(descriptor)
  }

  /** Asks that everything written so far be synced. */
  want(): void {
    if (!this.#running) this.#start()
    else if (this.#covers < this.#options.written()) this.#wanted = true
  }

  /** Nothing is synced or called after. */
  stop(): void {
    this.#stopped = true
  }

  get running(): boolean {
    return this.#running
  }

  #start(): void {
    this.#wanted = false
    this.#running = true
    const { writer, clock } = this.#options
    const batch = this.#options.written()
    this.#covers = batch
    const { all, done, rolled } = writer.takeUnsynced()
    const blobs = this.#blobs.splice(0)
    const startedMs = clock.monotonicMs()
    const named = rolled || blobs.length > 0
    this.#syncAll([...blobs, ...all], 0, named, (error) => {
      this.#running = false
      for (const descriptor of [...blobs, ...done]) this.#options.files.close(descriptor)
      if (this.#stopped) return
      if (error !== null) {
        // After a failed fdatasync the kernel may have dropped the pages: trying again would lie.
        this.#stopped = true
        this.#options.failed(error)
        return
      }
      this.syncs += 1
      this.syncUs += (clock.monotonicMs() - startedMs) * 1000
      this.#options.synced(batch)
      if (this.#wanted) this.#start()
    })
  }

  #syncAll(
    descriptors: readonly number[],
    at: number,
    named: boolean,
    done: (error: Error | null) => void,
  ): void {
    const { files, directory } = this.#options
    if (at === descriptors.length) {
      if (named) files.syncDirectory(directory, done)
      else done(null)
      return
    }
    files.dataSync(descriptors[at]!, (error) => {
      if (error !== null) done(error)
      else this.#syncAll(descriptors, at + 1, named, done)
    })
  }
}
