/** What a transport tells, and which side of a connection it is. */
import type { HostKey } from '../../engine.ts'

export interface TransportHandlers {
  /** The first key exchange is done. */
  ready(): void
  /** A message of a service (RFC 4250, 4.1.2: 5, 6 and everything from 50). What it throws ends the connection. */
  message(type: number, payload: Buffer): void
  /** The socket takes more again. */
  drained(): void
  /** Nothing should be read that leads to more being sent: the peer takes none of it; and, with false, that it does again. */
  flooded?(isFlooded: boolean): void
  /** Keys were exchanged once more. What it throws ends the connection. */
  rekeyed?(): void
  /** Everything is said; the peer may take its time to close, and is to be given no more than some. */
  ending?(): void
  /** Once: there is nothing more to send or to come. What it throws is lost: there is nobody left to tell. */
  closed(error: Error | undefined): void
}

export type TransportRole =
  | { readonly side: 'server'; readonly hostKeys: readonly HostKey[] }
  | {
      readonly side: 'client'
      /** Algorithms of host keys to ask for. */
      readonly hostKeyAlgorithms: readonly string[]
      /** The key whose signature the library shall check, or undefined to refuse the host. */
      readonly verifyHost: (shown: Buffer) => Buffer | undefined
    }
