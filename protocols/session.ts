/**
 * A session is the proof that somebody was let in: only the gate makes one, and without one an engine
 * has nothing to connect to and nothing to connect with.
 */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { ActivitySource, BlobReference, Outcome, ProtocolName } from './activity.ts'
import type { SallyportError } from './kit/errors.ts'
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
  /** Whom to believe at the other end of SSH, which knows no TLS. */
  readonly ssh?: SshUpstream
}

/** Public keys are blobs of RFC 4253, 6.6. What neither list names is refused. */
export interface SshHostTrust {
  readonly hostKeys: readonly Buffer[]
  /** Authorities of host certificates. */
  readonly hostAuthorities: readonly Buffer[]
}

export interface SshUpstream extends SshHostTrust {
  /** The customer's bastion: `connect` leads to it, and from it a channel to the upstream's host and port. */
  readonly bastion?: SshHostTrust & { readonly host: string; readonly port: number }
}

/** What a connection through a tunnel may speak. `tcp`: anything that no engine knows how to record. */
export const tunnelProtocols = ['tcp', 'ssh', 'postgres', 'mysql', 'http'] as const
export type TunnelProtocol = (typeof tunnelProtocols)[number]

/** A destination that a resource declares for port forwarding. */
export interface Tunnel {
  /** `local` is ssh -L and -D, `remote` is ssh -R (host and port are what the server listens on). */
  readonly direction: 'local' | 'remote'
  /** Lower case. */
  readonly host: string
  readonly port: number
  readonly carries: TunnelProtocol
}

/** What a resource allows in an SSH session at the session's level. */
export interface SshTerms {
  readonly agentForwarding: boolean
  readonly tunnels: readonly Tunnel[]
  /** Globs over a whole exec line. With `allow`, what none matches is refused, and so is a shell; `deny` comes first. */
  readonly allow?: readonly string[]
  readonly deny: readonly string[]
  /** Whether what was typed is recorded, besides what was shown. */
  readonly recordInput: boolean
  /** Of what commands print, so much is kept per stream; the digest is over all of it. Bytes. */
  readonly streamBytesMax: number
}

/** How an HTTP app is shown the resource's secret. `none`: it has none, and goes by the signed identity alone. */
export type HttpCredential =
  | { readonly kind: 'none' }
  /** `Authorization: Bearer <secret>`. */
  | { readonly kind: 'bearer' }
  /** `Authorization: Basic`, of the level's account and the secret (RFC 7617). */
  | { readonly kind: 'basic' }
  | { readonly kind: 'header'; readonly name: string }
  /** The secret is PEM: a certificate with its chain, and its key. */
  | { readonly kind: 'client-certificate' }
  /** OAuth client credentials (RFC 6749, 4.4): the account is the client's id, the secret its secret. */
  | { readonly kind: 'oauth'; readonly tokenUrl: string; readonly scope?: string }

/** A rule on requests; the first that matches counts. */
export interface HttpRule {
  /** Upper case; undefined: any. */
  readonly methods?: readonly string[]
  /** Glob over the path as it goes upstream: `*` is any text without a slash, `**` any text. */
  readonly path: string
  /** What a session must be allowed at least; `deny`: nobody. */
  readonly needs: Level | 'deny'
}

/** What a resource says about HTTP. */
export interface HttpTerms {
  /** What is spoken to the app. */
  readonly version: '1.1' | '2'
  /** `Host` as the client sent it, or the resource's own. */
  readonly host: 'client' | 'resource'
  readonly credential: HttpCredential
  /** Before these: GET, HEAD and OPTIONS need read, DELETE delete, everything else write. */
  readonly rules: readonly HttpRule[]
  /** Parameters of a query whose values are not recorded, lower case; besides those that look like secrets anyway. */
  readonly redactedParameters: readonly string[]
  /** Of each body so much is recorded; 0: none. Bytes. */
  readonly recorded: {
    readonly requestBodyBytes: number
    readonly responseBodyBytes: number
    /** Text frames of WebSockets, up to `Limits.webSocketTextBytesMax` of each. */
    readonly webSocketText: boolean
  }
  readonly limits: {
    /** All header lines of a request. Bytes. */
    readonly headerBytesMax: number
    /** A request's body; 0: any. Bytes. */
    readonly bodyBytesMax: number
    /** From the end of a request to the head of its answer. */
    readonly answerMs: number
    /** Requests of one session at a time. */
    readonly requestsMax: number
    /** Requests of one person in a minute; 0: any. */
    readonly perMinuteMax: number
  }
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

/** Somewhere that bytes for the client go: a socket, or a stream over another connection. */
export interface Downstream {
  readonly destroyed: boolean
  readonly writableLength: number
  destroy(error?: Error): unknown
  resume(): unknown
  end(): unknown
  once(event: 'close', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
}

export type RecordingKind = 'terminal' | 'stream'

export interface RecordingHeader {
  /** What it is a recording of. */
  readonly activity: ActivityId
  /** A command line, or what kind of shell. */
  readonly title: string
  /** Of a terminal. */
  readonly columns?: number
  readonly rows?: number
  /** `TERM` of a terminal. */
  readonly term?: string
}

/**
 * Where recorded bytes came from. `client-hidden`: typed where nothing was echoed (a password), kept under a key of its own.
 */
export type RecordedFrom = 'client' | 'client-hidden' | 'upstream' | 'upstream-error'

/** One channel's recording. Ends with its session at the latest; what was written survives the death of the process. */
export interface Recording {
  /**
   * Takes the bytes into the audit within 250 ms. The chunk must not be changed afterwards. False: stop reading the side that they
   * came from until `onDrain`.
   */
  write(from: RecordedFrom, bytes: Buffer): boolean
  resize(columns: number, rows: number): void
  /** A remark at this moment, for whoever replays it (a warning, a cut). */
  mark(label: string): void
  end(): void
}

export interface Session extends AsyncDisposable {
  readonly labels: SessionLabels
  readonly upstream: Upstream
  /** Terms of an SSH resource. */
  readonly ssh?: SshTerms
  /** Terms of an HTTP resource. */
  readonly http?: HttpTerms
  /** Aborts with a `Cut` as its reason. */
  readonly signal: AbortSignal
  /** A cut was ordered: nothing passes any more, either way but for goodbyes. `signal` aborts once its record is written, this turn or the next. */
  readonly isCut: boolean
  /** Over without a cut, as after a call upstream that threw: nothing begins under it any more. Of a cut `signal` tells. */
  readonly isOver: boolean
  /** Unix milliseconds of the grant's end, as it is now. */
  readonly expiresAtMs: number
  /** What `notify` shows before the end, as it is true now; undefined: the end is not near (any more). */
  readonly warning: string | undefined

  /**
   * A socket to the resource, TCP only (the engine's protocol decides when TLS starts). The first call
   * returns the dial that `admit` started. Every socket is registered, so that a cut destroys them all. Rejects with
   * `upstream-unreachable`.
   */
  connect(): Promise<Socket>

  /** Fetches the secret from its store. Rejects with `secret-unavailable` or `secret-not-bound`. */
  borrow(of?: 'resource' | 'bastion'): Promise<Credential>

  /**
   * For SSH resources whose secret is a certificate of the upstream authority, instead of `borrow`: certifies a key that the engine
   * made for this session (a blob of RFC 4253, 6.6) for five minutes, from this proxy's address only. Undefined where the resource has a
   * secret to borrow. Rejects with `secret-unavailable` or `secret-not-bound`.
   */
  certify(
    publicKey: Buffer,
    of?: 'resource' | 'bastion',
  ): Promise<{ readonly account: string; readonly certificate: Buffer } | undefined>

  /**
   * Where the client's bytes go, so that the last byte of a cut can be proven and the stream destroyed. Call what it returns when
   * that stream is over and the session is not.
   */
  attach(downstream: Downstream): () => void

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
  /** The same for an upstream that is not a stream of bytes (a channel of a library). What it throws ends the session. */
  forwardCall(run: () => void): boolean
  /**
   * Called whenever forwarding or recording may go on after a `false`: `target` drained (or closed), or (undefined) the session's queue:
   * then everything may go on whose target does not need to drain itself. A full target never holds back what goes to another. One listener.
   */
  onDrain(listener: (target: Writable | undefined) => void): void

  /**
   * Starts the recording of a channel. Write before the same bytes are forwarded: then no typed byte passes unrecorded. Throws
   * `audit-unwritable` or `audit-full`.
   */
  record(kind: RecordingKind, header: RecordingHeader): Recording

  /** Counts what went to the client; call once per chunk written downstream. */
  countDownstream(bytes: number): void

  /** Starts a blob for a text too long for a record. */
  spill(): BlobWriter

  /**
   * One thing per session and key, made by the first lease that asks and disposed when the session ends: a pool of connections, a counter.
   * `make` must not use what belongs to the lease alone. By `person`: shared by all sessions that they have at this resource and proxy, and
   * disposed with the last of them.
   */
  keep<T extends Disposable>(key: symbol, make: () => T, by?: 'session' | 'person'): T

  /**
   * Of a lease: the lowest level, from `need` upwards, of a grant that the same evidence could be given a lease of by naming it; as far as this proxy
   * knows. Undefined: there is none, or the arrival said which it wants.
   */
  levelCovering?(need: Level): Level | undefined

  /**
   * Who this is, for the app: a JWT (RFC 7519) of a minute that the proxy signs, `aud` being the app's origin. Cheap: signed once in
   * half a minute. See SECURITY.md.
   */
  assertion(): string

  /** Registers how to cancel what runs upstream; returns our own key for the client (8 bytes). */
  onCancel(cancel: () => void): Buffer

  /**
   * Orders a cut for `protocol-violation`: what passes is not what this session is for. The error's message goes into the audit, and its
   * words to the client are the cut's. Nothing goes upstream any more; `signal` aborts by and by.
   */
  violated(error: SallyportError): void

  /** Says why the session ended, unless it was cut; the first reason stays. */
  end(reason: EndReason, error?: Error): void

  /** Ends the session: destroys its sockets, writes `session.closed`. Idempotent. */
  [Symbol.asyncDispose](): Promise<void>
}
