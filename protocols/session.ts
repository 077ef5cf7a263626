/**
 * A session is the proof that somebody was let in: only the gate makes one, and without one an engine
 * has nothing to connect to and nothing to connect with.
 */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { ActivitySource, BlobReference, Outcome, ProtocolName } from './activity.ts'
import type { Secret } from './kit/secret.ts'

export const levels = ['read', 'write', 'delete', 'admin'] as const
export type Level = (typeof levels)[number]

/** Why the proxy ended a session. Closed set: a metric label and a column of the audit. */
export const cutReasons = [
  'grant-expired',
  'grant-revoked',
  'person-revoked',
  'certificate-revoked',
  'resource-removed',
  'cut-by-admin',
  'idle',
  'outage',
  'audit-unwritable',
  'audit-full',
  'proxy-draining',
  'protocol-violation',
  'confirmation-denied',
] as const
export type CutReason = (typeof cutReasons)[number]

/** Why a session ended when nobody cut it. */
export const endReasons = [
  'client-closed',
  'upstream-closed',
  'upstream-failed',
  'client-failed',
  'proxy-lost',
] as const
export type EndReason = (typeof endReasons)[number]

/** The reason of an aborted `Session.signal`. */
export interface Cut {
  readonly reason: CutReason
  /** When it was ordered, Unix milliseconds. */
  readonly orderedAtMs: number
  /** One sentence for the client: what happened. */
  readonly message: string
  /** One sentence for the client: what to do next. */
  readonly hint: string
}

export type UpstreamTlsMode = 'disable' | 'require' | 'verify-full'

export interface Upstream {
  readonly host: string
  readonly port: number
  /** The name the upstream's certificate must carry, and the SNI sent. */
  readonly serverName: string
  readonly tls: UpstreamTlsMode
  /** PEM of the authorities to trust under verify-full; the system's when absent. */
  readonly caPem?: string
}

/** What logs and the engine may say about a session. */
export interface SessionLabels {
  readonly realm: string
  readonly sessionId: string
  readonly grantId: string
  readonly personId: string
  readonly personEmail: string
  readonly resource: string
  readonly protocol: ProtocolName
  readonly level: Level
  /** Unix milliseconds of the grant's end as it was when the session opened. */
  readonly expiresAtMs: number
}

export interface Credential {
  /** The account at the resource. */
  readonly account: string
  /** Dropped by the engine as soon as the upstream login is done. */
  readonly secret: Secret<string>
}

/** The number of an activity in its proxy's epoch. */
export type ActivityId = number

/** A long text on its way into a blob. Written while its bytes stream upstream. */
export interface BlobWriter {
  write(bytes: Buffer): void
  /** Seals the blob; the reference goes into the record. */
  finish(): BlobReference
  /** Throws the blob away (the message never completed). */
  abandon(): void
}

export interface Session extends AsyncDisposable {
  readonly labels: SessionLabels
  readonly upstream: Upstream
  /** Aborts with a `Cut` as its reason. */
  readonly signal: AbortSignal

  /**
   * A socket to the resource, TCP only (the engine's protocol decides when TLS starts). The first call
   * returns the dial that `admit` started. Every socket is registered, so that a cut destroys them all. Rejects with
   * `upstream-unreachable`.
   */
  connect(): Promise<Socket>

  /** Fetches the secret from its store. Rejects with `secret-unavailable` or `secret-not-bound`. */
  borrow(): Promise<Credential>

  /** The client's socket, so that the last byte of a cut can be proven and the socket destroyed. */
  attach(downstream: Socket): void

  /**
   * To be called once, when the upstream login is done and before the client is told that it is in. Throws if the
   * session was cut meanwhile. `notify` shows the person a line (a warning before the end) in the protocol's way.
   */
  opened(notify: (line: string) => void): void

  /** Appends a record to the batch of this turn. Cheap, synchronous, allocates nothing. */
  report(activity: ActivitySource): ActivityId
  /** The one outcome of an activity; batched too. */
  settle(id: ActivityId, outcome: Outcome): void

  /**
   * The only way upstream. Keeps the order of calls; commits the batch first; drops what waits once the
   * session is cut. Returns false when the caller should stop reading until `onDrain` is called.
   * The chunk must not be changed afterwards.
   */
  forward(target: Writable, chunk: Buffer): boolean
  /** The same for an upstream that is not a stream of bytes (a channel of a library). */
  forwardCall(run: () => void): boolean
  /** Called whenever forwarding may go on after a `false`. One listener. */
  onDrain(listener: () => void): void

  /** Counts what went to the client; call once per chunk written downstream. */
  countDownstream(bytes: number): void

  /** Starts a blob for a text too long for a record. */
  spill(): BlobWriter

  /** Registers how to cancel what runs upstream; returns our own key for the client (8 bytes). */
  onCancel(cancel: () => void): Buffer

  /** Says why the session ended, unless it was cut; the first reason stays. */
  end(reason: EndReason, error?: Error): void

  /** Ends the session: destroys its sockets, writes `session.closed`. Idempotent. */
  [Symbol.asyncDispose](): Promise<void>
}
