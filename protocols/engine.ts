/**
 * The contract between a protocol and the rest. An engine terminates one protocol: it learns who is
 * there and what they ask for, asks the gate, and relays under the session that the gate returned.
 */
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { ProtocolName } from './activity.ts'
import type { Clock } from './kit/clock.ts'
import type { Limits } from './kit/limits.ts'
import type { Session } from './session.ts'

export interface Engine {
  readonly name: ProtocolName
  /** The protocol's usual port, for configuration that names none. */
  readonly defaultPort: number
  /**
   * Serves one accepted connection and resolves when it is over. Never rejects for anything the client or
   * the resource did. Stateless: nothing outlives the connection.
   */
  serve(connection: Socket, gate: Gate, host: Host): Promise<void>
}

/** What a client showed of itself. The gate verifies it, the engine never does. */
export type Evidence =
  | {
      readonly kind: 'client-certificate'
      /** The leaf in DER, from a handshake that proved possession of its key. */
      readonly certificate: Buffer
    }
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'none' }

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

export interface Gate {
  /**
   * Identify, authorise, record, audit. Starts the dial at once. Rejects with a `SallyportError`; a refusal that
   * must not tell anything (`access-denied`) arrives after the same time whatever its cause.
   */
  admit(arrival: Arrival): Promise<Session>
  /** Runs the cancel callback that owns this key, if any. Needs no evidence and answers nothing. */
  cancel(key: Buffer): void
}

export interface Host {
  /** The TLS context for a server name; undefined for a name outside of the proxy's domain. */
  tlsContext(serverName: string | undefined): SecureContext | undefined
  /** The domain of the proxy, as in `<resource>.<domain>`. */
  readonly domain: string
  readonly clock: Clock
  readonly limits: Limits
  readonly log: Log
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
