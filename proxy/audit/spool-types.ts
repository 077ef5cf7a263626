/**
 * What the rest of the proxy knows of the audit: one spool and one chain per process. Records are appended to the
 * batch of this turn of the event loop; one commit per turn writes it and then forwards what waited for it.
 */
import type { Writable } from 'node:stream'
import type { ActivityId, BlobWriter } from '../../protocols/session.ts'
import type { ActivitySource, Outcome } from '../../protocols/activity.ts'
import type { ByteWriter } from '../../protocols/kit/byte-writer.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Outbox } from './outbox.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import type { EntryType, SessionClosedMeta } from '../../control/api/audit/format.ts'
import type {
  SessionCutMeta,
  SessionOpenedMeta,
  SessionRefusedMeta,
} from '../../control/api/audit/format.ts'

/**
 * `written`: the write returned; survives the death of the process. `synced`: fdatasync returned; survives the
 * loss of power.
 */
export type Durability = 'written' | 'synced'

export interface SpoolLimits {
  /** A segment file is closed once it is this long. */
  segmentBytes: number
  /** Segments and blobs together; a full spool cuts every session. */
  totalBytesMax: number
  /** Share of `totalBytesMax` from which new sessions are refused. */
  refuseAtShare: number
}

export const defaultSpoolLimits: Readonly<SpoolLimits> = {
  segmentBytes: 16 * 1024 * 1024,
  totalBytesMax: 4 * 1024 * 1024 * 1024,
  refuseAtShare: 0.8,
}

export interface SpoolOptions {
  /** Made with mode 0700 if it is missing. */
  directory: string
  /** 32 bytes; the proxy's own. */
  key: Buffer
  proxyId: string
  clock: Clock
  limits?: Partial<SpoolLimits>
  /** Version of the software, for `proxy-started`. */
  version: string
  log: Log
}

/** An entry of a recording, as a long-lived object that writes itself. */
export interface RecordedSource {
  readonly type: 'recording' | 'recording-ended'
  /** Of the recording in its session. */
  readonly number: number
  /** What the session forwards next waits for this entry. */
  readonly holdsInput: boolean
  encodeMeta(writer: ByteWriter): void
  encodePayload(writer: ByteWriter): void
}

/** What a session needs to write records: made once per session, by `createSpoolSession`. */
export interface SpoolSession {
  /** UUID. */
  readonly sessionId: string
  /** The same in 16 bytes, as records hold it. */
  readonly idBytes: Buffer
  readonly durability: Durability
  /** The batch of its last activity; kept by the spool. */
  batch: number
}

/** Meta of each entry that is not on the hot path. */
export interface EventMeta {
  'session-opened': SessionOpenedMeta
  'session-cut': SessionCutMeta
  'session-closed': SessionClosedMeta
  'session-refused': SessionRefusedMeta
  'proxy-stopped': { reason: string }
}
export type EventType = keyof EventMeta & EntryType

/** The head of a chain. */
export interface SpoolHead {
  /** UUID. */
  epoch: string
  batch: number
  /** Sequence of the batch's last entry. */
  sequence: number
  link: Buffer
}

export interface SpoolFigures {
  /** Bytes of segments and blobs on disk. */
  bytes: number
  bytesMax: number
  batches: number
  entries: number
  /** Sum and count of the synchronous part of commits (encode, encrypt, write), microseconds. */
  commitUs: number
  /** The slowest commit since the last reading, microseconds. */
  commitUsMax: number
  syncs: number
  /** Sum of the fdatasync times, microseconds. */
  syncUs: number
}

/** Something that waits for batches to be durable: a forwarder. */
export interface Waiter {
  readonly durability: Durability
  /** Called once per `wait`: everything up to this batch is as durable as asked, maybe less than waited for. */
  release(batch: number): void
}

/** What a forwarder needs of the spool. */
export interface CommitQueue {
  /** Everything up to this batch is as durable as asked; -1 once the spool has failed for good. */
  durableBatch(durability: Durability): number
  /** Releases the waiter after the next commit (or sync). Never, if the spool fails. */
  wait(waiter: Waiter): void
}

export interface Spool extends CommitQueue {
  /** UUID of this boot. */
  readonly epoch: string
  /** Last committed batch. */
  readonly head: SpoolHead
  /** At or above `refuseAtShare`, failed or closed: new sessions must be refused. */
  readonly refusing: boolean
  /** Why nothing can be written now: `audit-unwritable` (for good) or `audit-full` (until shipped). */
  readonly failure: SallyportError | undefined
  /** What is to be shipped. */
  readonly outbox: Outbox

  /**
   * Throws the failure if the spool has failed. Outside of `session-opened` and `session-cut` or `session-closed` it writes nothing,
   * answers 0, and the session's forwarder lets nothing pass any more. Allocates nothing.
   */
  appendActivity(session: SpoolSession, source: ActivitySource): ActivityId
  /** Nothing for activity 0. */
  appendOutcome(session: SpoolSession, id: ActivityId, outcome: Outcome): void
  /**
   * Returns the commitment of its payload (one character a byte). Undefined where nothing was written, because the spool has failed
   * or is full, or the session is not open: then, if it holds input, the session's forwarder lets nothing pass any more. The end of
   * a recording is written also in a full spool.
   */
  appendRecorded(session: SpoolSession, source: RecordedSource): string | undefined
  /** Only `session-opened` throws the failure. The cut or end of a session that is not open is passed over. */
  appendEvent<T extends EventType>(type: T, sessionId: string | undefined, meta: EventMeta[T]): void
  /** Resolves once all that was appended so far is as durable as asked; rejects with the failure. */
  commitNow(durability: Durability): Promise<void>
  /**
   * Called when the spool fails or is full: every session must be cut. Called at once if it has failed. A spool that was full
   * may be written again once shipping has made room, and may call again; ends of sessions are still written.
   */
  onFailure(listener: (failure: SallyportError) => void): void
  /** Starts a blob for a text too long for a record (`Session.spill`). Throws the failure. */
  spill(session: SpoolSession): BlobWriter
  /** Figures for metrics. */
  figures(): SpoolFigures
  /** Writes `proxy-stopped`, syncs and closes the files. What is not shipped stays for the next start. */
  close(reason: string): Promise<void>
}

export interface ForwarderOptions {
  durability: Durability
  /** What may wait for its commit; more makes `forward` answer false. */
  queueBytesMax: number
  /** Called whenever forwarding may go on after a `false`: what is written to `target`, or (undefined) to those that are not full. */
  onDrain: (target: Writable | undefined) => void
  /** A call that was handed on threw. The forwarder has stopped. */
  onFailure: (error: unknown) => void
}

/** One session's only way upstream; semantics in `Session.forward`. */
export interface Forwarder {
  forward(target: Writable, chunk: Buffer): boolean
  forwardCall(run: () => void): boolean
  /** A cut: drops what waits and everything after. Returns how many bytes were dropped; 0 when called again. */
  stop(): number
  /** Waiting for a commit, and given to targets that have not drained yet. */
  readonly pendingBytes: number
  /** Passed on so far. */
  readonly forwardedBytes: number
}
