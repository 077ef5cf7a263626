/**
 * One request and its answer as every version of HTTP has them. What parses is Node's strict parser and nghttp2; what comes from
 * them is data only, and is written again for the other side.
 */
import type { Readable } from 'node:stream'
import type { SallyportError } from '../kit/errors.ts'
import type { Downstream } from '../session.ts'
import type { RawHeaders } from './upstream/app.ts'
import type { HttpRefusal } from './wire/refusal.ts'

export interface Exchange {
  /** `other`: a parser's leniency, to be refused. */
  readonly version: '1.0' | '1.1' | '2' | 'other'
  readonly method: string
  /** As it was sent; anything but origin form is refused later. */
  readonly target: string
  /** `:authority`; undefined in HTTP/1, which has `Host` among its fields. */
  readonly authority: string | undefined
  /** Names in lower case. Without pseudo-fields. */
  readonly headers: RawHeaders
  /** Bytes that are announced; `chunked`: it ends where it ends; undefined: none. */
  readonly body: number | 'chunked' | undefined
  /** The client waits to be told to go on (RFC 9110, 10.1.1). */
  readonly expectsContinue: boolean
  /** The body; nothing is read before somebody listens. */
  readonly source: Readable
  /** The source has ended, and with it the body: not by a reset, nor by a lost connection. */
  readonly isReceived: boolean
  /** Where the answer goes. */
  readonly downstream: Downstream
  /** The head of the answer is sent. */
  readonly hasBegun: boolean
  /** The answer was sent whole, or given up. */
  readonly isOver: boolean
  /** Nothing that came after it on its connection may be answered (RFC 9112, 9.6). */
  readonly isLast: boolean
  /** 100 (Continue). */
  goOn(): void
  /** 103 (RFC 8297); nothing of any other 1xx, nor in HTTP/1.0, which knows none. */
  informational(status: number, headers: RawHeaders): void
  /**
   * `mayTrail`: fields may follow the body. `last`: no request of this connection is answered after this one (HTTP/1).
   * `isWhole`: nothing follows but `end` (END_STREAM of HTTP/2).
   */
  head(status: number, headers: RawHeaders, how?: AnswerHead): void
  /** False: wait for `onDrain`. */
  write(chunk: Buffer): boolean
  /** Sends what `gathers` kept back: to be called at the end of the turn. */
  flush(): void
  end(trailers?: RawHeaders): void
  /** Breaks the answer off so that nobody takes it for whole: the connection ends (HTTP/1), the stream is reset (HTTP/2). */
  abandon(): void
  /** Bytes that wait for the client: of this answer (HTTP/2), or of all that its connection carries. */
  readonly bytesWaiting: number
  /** Grows with what the client takes of the same. */
  readonly bytesTaken: number
  /** Breaks off what its client takes nothing of, and a WebSocket that came of it: the connection (HTTP/1), the stream (HTTP/2). */
  giveUp(why: SallyportError): void
  /** Why it was given up. */
  readonly givenUp: SallyportError | undefined
  /** The listener that came last. */
  onDrain(listener: () => void): void
  /** Once, when the answer is over or the client is gone. */
  onClose(listener: () => void): void
  /** Once, when what follows of the request cannot be read: a bad chunk. The listener that came last; at once if it happened before. */
  onBroken(listener: (refusal: HttpRefusal) => void): void
}

export interface AnswerHead {
  /** None: the usual one of the status. */
  readonly statusText?: string
  readonly mayTrail?: boolean
  readonly last?: boolean
  readonly isWhole?: boolean
  /**
   * Head, body and end are kept back until `flush`, so that answers of one turn leave in a row. Sent one by one, each wakes its client
   * anew, which costs the kernel more than all else that it does for an answer.
   */
  readonly gathers?: boolean
}
