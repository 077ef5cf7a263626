/**
 * The contract between a protocol and the rest. An engine terminates one protocol: it learns who is
 * there and what they ask for, asks the gate, and relays under the session that the gate returned.
 */
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { ProtocolName } from './activity.ts'
import type { Clock } from './kit/clock.ts'
import type { ErrorCode } from './kit/errors.ts'
import type { Limits } from './kit/limits.ts'
import type { Secret } from './kit/secret.ts'
import type { Level, Session } from './session.ts'

export interface Engine {
  readonly name: ProtocolName
  /** The protocol's usual port, for configuration that names none. */
  readonly defaultPort: number
  /**
   * Serves one accepted connection and resolves when it is over. Never rejects for anything the client or
   * the resource did. Stateless: nothing outlives the connection.
   */
  serve(connection: Socket, gate: Gate, host: Host): Promise<void>
  /** What this process lacks to serve it as it should, in one sentence for operators. Undefined: nothing. Asked at the start. */
  shortcoming?(): string | undefined
}

/** What a client showed of itself. The gate verifies it, the engine never does. */
export type Evidence =
  | {
      readonly kind: 'client-certificate'
      /** The leaf in DER, from a handshake that proved possession of its key. */
      readonly certificate: Buffer
    }
  | { readonly kind: 'token'; readonly token: string }
  /** An API token of scope `apps` (RFC 6750); good for many requests, until it ends. */
  | { readonly kind: 'bearer'; readonly token: Secret<string> }
  /** What `Browsers.finish` gave: signed by control, for one person, one grant and one resource. */
  | { readonly kind: 'browser-session'; readonly cookie: Secret<string> }
  | {
      /** A signature by a public key or an OpenSSH certificate (RFC 4252, chapter 7). */
      readonly kind: 'ssh-key'
      /** The key as it was offered: a blob of RFC 4253, 6.6, or an OpenSSH certificate. */
      readonly publicKey: Buffer
      /** Algorithm of the signature, without `-cert-v01@openssh.com`. */
      readonly algorithm: string
      /** What was signed, session identifier first. */
      readonly signed: Buffer
      /** The value of the signature, without the wrapping that names the algorithm. */
      readonly signature: Buffer
    }
  /** Whom this gate named before, on the same connection or on the one that carries it. */
  | { readonly kind: 'identity'; readonly identity: Identity }
  | { readonly kind: 'none' }

/** Somebody whom the gate has verified. To be disposed when the connection ends. */
export interface Identity extends Disposable {
  readonly realm: string
  readonly personId: string
  readonly personEmail: string
  /** Aborts with a `Cut` when the person or what they were identified by is revoked. */
  readonly signal: AbortSignal
  /** Aborts with a `Cut` when the time of what they were identified by is over: what is open goes on, and nothing begins any more. */
  readonly expiry: AbortSignal
}

/** What somebody without a key does to sign in: open a page, compare a code. */
export interface SignInPrompt {
  readonly url: string
  readonly code: string
  /** Unix ms. */
  readonly expiresAtMs: number
  /** To be shown above the link: who would be signed in where. One line. */
  readonly notice?: string
}

export interface HostKey {
  /** What the client is shown: a key's blob, or an OpenSSH host certificate. */
  readonly publicKey: Buffer
  /** `ssh-ed25519` or `ssh-ed25519-cert-v01@openssh.com`. */
  readonly algorithm: string
  /** The value of the signature. */
  sign(data: Buffer): Buffer
}

export interface Arrival {
  readonly evidence: Evidence
  readonly protocol: ProtocolName
  /** What the client called the resource: a host name, or the part after `~`. Undefined: it named none. */
  readonly resource: string | undefined
  /** Level or account that the client named before `~`; '' for none. */
  readonly wanted: string
  readonly remoteAddress: string
  readonly remotePort: number
  /** What the client says of itself ("database", "application"); audited, bounded by the engine. */
  readonly attributes: Readonly<Record<string, string>>
}

/** How a browser signs in: on the console's origin, and comes back with a code. */
export interface Browsers {
  /**
   * Where to send a browser that has no session for this resource, whether there is such a resource or not. It keeps `binding` (a host-only cookie)
   * and brings it back to `finish`: so that nobody can sign somebody else's browser in.
   */
  begin(visit: {
    /** As for `Arrival.resource`. */
    readonly resource: string
    /** At least this level is wanted. */
    readonly level: Level
    /** The port that the browser knows us by. */
    readonly port: number
  }): Promise<{ readonly url: string; readonly binding: Secret<string> }>
  /**
   * Trades the code for a session of this browser. Rejects with `evidence-invalid` (in the same words for every cause),
   * `sign-in-unavailable` or `rate-limited`. Without a binding, from a browser that did not begin it, the code is only used up.
   */
  finish(visit: {
    readonly resource: string
    readonly code: Secret<string>
    readonly binding: Secret<string> | undefined
    readonly remoteAddress: string
  }): Promise<{ readonly cookie: Secret<string>; readonly expiresAtMs: number }>
  /** Where somebody signs out everywhere. */
  readonly signOutUrl: string
}

export interface Gate {
  /**
   * Identify, authorise, record, audit. Starts the dial at once. Rejects with a `SallyportError`; a refusal that
   * must not tell anything (`access-denied`) arrives after the same time whatever its cause.
   */
  admit(arrival: Arrival): Promise<Session>
  /**
   * The same for a protocol whose sessions span connections and requests: a counted lease of the session that the same evidence has at the
   * same resource and level already, or of a new one. Disposing gives the lease back; the session ends when it was without leases for
   * `limits.unusedSessionMs`. A lease has its own `opened`, `onDrain` and `end`; everything else is the session's.
   */
  lease(arrival: Arrival): Promise<Session>
  readonly browsers: Browsers
  /**
   * Who somebody is, before a resource is named. Rejects with `evidence-invalid` or `evidence-expired`, after the same time as
   * every refusal.
   */
  identify(evidence: Evidence, remoteAddress: string): Promise<Identity>
  /** Whether a signature of this key (a blob, or an OpenSSH certificate) is worth asking for. Proves nothing, answers at once. */
  recognises(publicKey: Buffer): Promise<boolean>
  /**
   * Lets somebody sign in at the identity provider while the client waits. Rejects with `sign-in-refused`, `sign-in-unavailable`,
   * `rate-limited`, or what aborted `signal`.
   */
  signIn(
    remoteAddress: string,
    show: (prompt: SignInPrompt) => void,
    signal: AbortSignal,
  ): Promise<Identity>
  /** Runs the cancel callback that owns this key, if any. Needs no evidence and answers nothing. */
  cancel(key: Buffer): void
}

export interface Host {
  /** The TLS context for a server name; undefined for a name outside of the proxy's domain. */
  tlsContext(serverName: string | undefined): SecureContext | undefined
  /**
   * Host keys for a name, the ones to prefer first: a certificate for just this name, then the bare key. Any name of the domain has
   * some (unknown and forbidden look the same); undefined outside of it, and where `asker` asks for more names than a person uses.
   */
  hostKeys(
    name: string,
    asker?: Pick<Identity, 'personId'>,
  ): Promise<readonly HostKey[] | undefined>
  /** The domain of the proxy, as in `<resource>.<domain>`. */
  readonly domain: string
  readonly clock: Clock
  readonly limits: Limits
  readonly log: Log
  /** Counts what the engine refuses by itself, or sees fail; what the gate refuses, the gate has counted. */
  refused(code: ErrorCode): void
  /**
   * Called, if at all, before `handshakeDone`: the transport is there, and it waits for somebody to be admitted. It keeps its place among
   * handshakes, may be ended for another at any time, and from now on the engine limits how long it waits.
   */
  handshakeWaits(connection: Socket): void
  /** Called once when the handshake is over (well or badly), so that its place is free again. */
  handshakeDone(connection: Socket): void
}

/** The part of a structured logger that an engine uses. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
