/**
 * The hot path of the audit. Records are appended to the batch of this turn of the event loop; the first of a turn asks
 * for one `setImmediate`, which links, encrypts and writes the batch with one call and then lets go what waited
 * for it. Nothing here allocates per record.
 */
import {
  activityKinds,
  FieldWriter,
  type ActivitySource,
  type Outcome,
} from '../../protocols/activity.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import type { ActivityId, BlobWriter } from '../../protocols/session.ts'
import { BatchEncoder, encodeOutcomeMeta } from '../../control/api/audit/encode.ts'
import {
  firstBatchNumber,
  firstEntrySequence,
  type EntryType,
} from '../../control/api/audit/format.ts'
import { genesisLink } from '../../control/api/audit/link.ts'
import { bytesOfUuid } from '../../control/api/audit/uuid.ts'
import { createBlobWriter } from './blob-writer.ts'
import { CommitWaiter } from './commit-waiter.ts'
import { GroupSync } from './group-sync.ts'
import type { Ledger } from './ledger.ts'
import type { Outbox } from './outbox.ts'
import type { RecentBatches } from './recent-batches.ts'
import { SegmentWriter } from './segment-writer.ts'
import { full, unwritable, type SpoolFiles } from './spool-files.ts'
import { UnixTime } from './unix-time.ts'
import type {
  Durability,
  EventMeta,
  EventType,
  RecordedSource,
  Spool,
  SpoolFigures,
  SpoolHead,
  SpoolLimits,
  SpoolSession,
  Waiter,
} from './spool-types.ts'

/** What `appendActivity` answers when it wrote nothing. Sequences begin at 1. */
const noActivity = 0
/** A batch longer than this is written before the turn ends, so that one turn cannot grow it without bound. */
const batchBytesSoon = 256 * 1024
/** What ends of sessions may still take of a full spool: 1/64 of it, and 1 MiB. */
const reserveOf = (bytesMax: number): number => bytesMax / 64 + 1024 * 1024

export interface OpenSpoolParts {
  epoch: string
  boot: number
  directory: string
  key: Buffer
  clock: Clock
  limits: SpoolLimits
  files: SpoolFiles
  ledger: Ledger
  recent: RecentBatches
  /** Given the functions that it calls back. */
  outbox: Outbox
}

export class WritableSpool implements Spool {
  readonly epoch: string
  readonly outbox: Outbox
  readonly #parts: OpenSpoolParts
  readonly #time: UnixTime
  readonly #encoder: BatchEncoder
  readonly #writer: SegmentWriter
  readonly #sync: GroupSync
  /** Sessions that are open, by id. */
  readonly #sessions = new Map<string, 'open' | 'cut'>()
  readonly #listeners: ((failure: SallyportError) => void)[] = []
  #fields: FieldWriter | undefined
  /** The batch that is open or will be opened next. */
  #number = firstBatchNumber
  #sequence = firstEntrySequence
  #link: Buffer
  #open = false
  #scheduled = false
  #written = firstBatchNumber - 1
  #writtenSequence = firstEntrySequence - 1
  #synced = firstBatchNumber - 1
  #waiting: Waiter[] = []
  #waitingSync: Waiter[] = []
  #failure: SallyportError | undefined
  #full: SallyportError | undefined
  #closed = false
  #atUs = 0
  #batches = 0
  #entries = 0
  #commitUs = 0
  #commitUsMax = 0

  constructor(parts: OpenSpoolParts) {
    const { epoch, boot, directory, key, clock, files, ledger, limits } = parts
    this.#parts = parts
    this.epoch = epoch
    this.outbox = parts.outbox
    this.#time = new UnixTime(clock)
    this.#encoder = new BatchEncoder(bytesOfUuid(epoch))
    this.#link = genesisLink(epoch)
    const { segmentBytes } = limits
    this.#writer = new SegmentWriter({ directory, key, boot, epoch, segmentBytes, files, ledger })
    this.#sync = new GroupSync({
      files,
      directory,
      writer: this.#writer,
      clock,
      written: () => this.#written,
      synced: (batch) => this.#onSynced(batch),
      failed: (cause) => this.#fail(unwritable('fdatasync', cause)),
    })
  }

  get head(): SpoolHead {
    const sequence = this.#writtenSequence
    return { epoch: this.epoch, batch: this.#written, sequence, link: this.#link }
  }

  get refusing(): boolean {
    const { limits, ledger } = this.#parts
    return (
      this.failure !== undefined ||
      this.#closed ||
      ledger.bytes >= limits.totalBytesMax * limits.refuseAtShare
    )
  }

  get failure(): SallyportError | undefined {
    if (this.#failure !== undefined) return this.#failure
    // Shipping makes room again: then a full spool is open for new sessions.
    if (this.#full !== undefined && this.#parts.ledger.bytes < this.#parts.limits.totalBytesMax) {
      this.#full = undefined
    }
    return this.#full
  }

  appendActivity(session: SpoolSession, source: ActivitySource): ActivityId {
    this.#requireWritable()
    if (this.#sessions.get(session.sessionId) !== 'open') {
      // No record outside of a session or after its cut; and without one, nothing of it passes any more.
      session.batch = Infinity
      return noActivity
    }
    const encoder = this.#begin()
    const writer = encoder.beginEntry('activity', session.idBytes, this.#atUs, 0)
    try {
      writer.u8(activityKinds[source.kind])
      encoder.endMeta()
      encoder.beginPayload()
      this.#fields ??= new FieldWriter(writer)
      source.encode(this.#fields)
    } catch (error) {
      encoder.abandonEntry()
      throw error
    }
    session.batch = this.#number
    return this.#endEntry()
  }

  appendOutcome(session: SpoolSession, id: ActivityId, outcome: Outcome): void {
    if (this.#failure !== undefined || this.#closed || id === noActivity) return
    const encoder = this.#begin()
    const writer = encoder.beginEntry('outcome', session.idBytes, this.#atUs, id)
    encodeOutcomeMeta(writer, outcome)
    encoder.endMeta()
    if (outcome.errorText !== '') {
      encoder.beginPayload()
      writer.utf8(outcome.errorText)
    }
    this.#endEntry()
  }

  appendRecorded(session: SpoolSession, source: RecordedSource): string | undefined {
    const failure = source.type === 'recording' ? this.failure : this.#failure
    if (failure !== undefined || this.#closed || !this.#sessions.has(session.sessionId)) {
      if (source.holdsInput) session.batch = Infinity
      return undefined
    }
    const encoder = this.#begin()
    const writer = encoder.beginEntry(source.type, session.idBytes, this.#atUs, source.number)
    source.encodeMeta(writer)
    encoder.endMeta()
    encoder.beginPayload()
    source.encodePayload(writer)
    if (source.holdsInput) session.batch = this.#number
    this.#endEntry()
    return encoder.commitment
  }

  appendEvent<T extends EventType>(
    type: T,
    sessionId: string | undefined,
    meta: EventMeta[T],
  ): void {
    if (type === 'session-opened') this.#requireWritable()
    else if (sessionId !== undefined && type !== 'session-refused') {
      // The end of a session whose beginning could not be written.
      if (!this.#sessions.has(sessionId)) return
    }
    this.appendMeta(type, sessionId, meta)
  }

  /** Any entry with a JSON meta; also `proxy-started`, which is not for others to write. */
  appendMeta(type: EntryType, sessionId: string | undefined, meta: object): void {
    if (this.#failure !== undefined || this.#closed) return
    const encoder = this.#begin()
    const session = sessionId === undefined ? undefined : bytesOfUuid(sessionId)
    encoder.beginEntry(type, session, this.#atUs, 0).utf8(JSON.stringify(meta))
    encoder.endMeta()
    this.#endEntry()
    if (sessionId === undefined) return
    if (type === 'session-opened') this.#sessions.set(sessionId, 'open')
    else if (type === 'session-cut') this.#sessions.set(sessionId, 'cut')
    else if (type === 'session-closed') this.#sessions.delete(sessionId)
  }

  #requireWritable(): void {
    const failure = this.failure
    if (failure !== undefined) throw failure
    if (this.#closed) throw unwritable('the spool is closed', undefined)
  }

  #begin(): BatchEncoder {
    if (!this.#open) {
      this.#atUs = this.#time.nowUs()
      this.#encoder.start(this.#number, this.#sequence, this.#link)
      this.#open = true
      this.#schedule()
    }
    return this.#encoder
  }

  #endEntry(): number {
    const id = this.#encoder.endEntry()
    this.#sequence = id + 1
    if (this.#encoder.length >= batchBytesSoon) this.#write()
    return id
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#endTurn)
  }

  readonly #endTurn = (): void => {
    this.#scheduled = false
    this.#write()
    const waiting = this.#waiting
    if (waiting.length > 0) {
      this.#waiting = []
      if (this.#failure === undefined) for (const waiter of waiting) waiter.release(this.#written)
    }
    if (this.#waitingSync.length > 0 && this.#failure === undefined) this.#sync.want()
  }

  #write(): void {
    if (!this.#open) return
    this.#open = false
    const { ledger, limits, recent, outbox, clock } = this.#parts
    const startedMs = clock.monotonicMs()
    const { bytes, link } = this.#encoder.finish(this.#time.nowUs())
    try {
      this.#writer.write(this.#number, bytes, this.#sessions.keys())
    } catch (error) {
      this.#fail(unwritable('write', error))
      return
    }
    this.#link = link
    this.#written = this.#number
    this.#writtenSequence = this.#sequence - 1
    this.#number += 1
    this.#batches += 1
    this.#entries += this.#encoder.count
    recent.push(this.#written, bytes)
    outbox.committed(this.#written)
    const commitUs = (clock.monotonicMs() - startedMs) * 1000
    this.#commitUs += commitUs
    if (commitUs > this.#commitUsMax) this.#commitUsMax = commitUs
    if (ledger.bytes >= limits.totalBytesMax) this.#onFull()
  }

  #onFull(): void {
    const { ledger, limits } = this.#parts
    const last = limits.totalBytesMax + reserveOf(limits.totalBytesMax)
    if (this.#full !== undefined && ledger.bytes < last) return
    const failure = full(ledger.bytes, limits.totalBytesMax)
    if (ledger.bytes >= last) {
      this.#fail(failure)
      return
    }
    this.#full = failure
    this.#tell(failure)
  }

  /** For good: what waits is never let go. */
  #fail(failure: SallyportError): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#sync.stop()
    this.#tell(failure)
    const waiting = [...this.#waiting, ...this.#waitingSync]
    this.#waiting = []
    this.#waitingSync = []
    for (const waiter of waiting) if (waiter instanceof CommitWaiter) waiter.reject(failure)
  }

  #tell(failure: SallyportError): void {
    for (const listener of this.#listeners) listener(failure)
  }

  #onSynced(batch: number): void {
    this.#synced = batch
    const waiting = this.#waitingSync
    this.#waitingSync = []
    for (const waiter of waiting) waiter.release(batch)
    // With a batch open, the end of the turn asks.
    if (this.#waitingSync.length > 0 && !this.#open) this.#sync.want()
  }

  durableBatch(durability: Durability): number {
    if (this.#failure !== undefined) return -1
    return durability === 'synced' ? this.#synced : this.#written
  }

  wait(waiter: Waiter): void {
    if (waiter.durability === 'synced') this.#waitingSync.push(waiter)
    else this.#waiting.push(waiter)
    this.#schedule()
  }

  commitNow(durability: Durability): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const batch = this.#open ? this.#number : this.#written
    if (batch <= this.durableBatch(durability)) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.wait(new CommitWaiter(this, durability, batch, resolve, reject))
    })
  }

  onFailure(listener: (failure: SallyportError) => void): void {
    this.#listeners.push(listener)
    const failure = this.failure
    if (failure !== undefined) listener(failure)
  }

  spill(session: SpoolSession): BlobWriter {
    this.#requireWritable()
    const { directory, key, files, ledger, limits } = this.#parts
    return createBlobWriter({
      directory,
      key,
      files,
      ledger,
      session,
      bytesMax: limits.totalBytesMax * limits.refuseAtShare,
      failed: (failure) => this.#fail(failure),
      sealed: (blob, descriptor) => {
        blob.epoch = this.epoch
        blob.batch = this.#number
        if (session.durability === 'synced') this.#sync.addBlob(descriptor)
        else files.close(descriptor)
      },
    })
  }

  figures(): SpoolFigures {
    const { ledger, limits } = this.#parts
    const figures = {
      bytes: ledger.bytes,
      bytesMax: limits.totalBytesMax,
      batches: this.#batches,
      entries: this.#entries,
      commitUs: this.#commitUs,
      commitUsMax: this.#commitUsMax,
      syncs: this.#sync.syncs,
      syncUs: this.#sync.syncUs,
    }
    this.#commitUsMax = 0
    return figures
  }

  async close(reason: string): Promise<void> {
    if (this.#closed) return
    this.appendMeta('proxy-stopped', undefined, { reason })
    this.#closed = true
    try {
      await this.commitNow('synced')
    } catch {
      // Listeners were told; what was written stays, and the next start says what is missing.
    }
    this.#sync.stop()
    this.#writer.close()
  }
}
