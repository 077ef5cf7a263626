/**
 * The app as one session sees it: its connections, its credential, its terms. Kept by the session
 * (`session.keep`), never shared with another one.
 *
 * Who relays calls `send` from within `session.forwardCall`, so that the record of the request is committed before
 * anything of it leaves; the body goes by `session.forward(call.body, chunk)`.
 */
import type { Duplex, Writable } from 'node:stream'
import type { SallyportError } from '../../kit/errors.ts'
import { requestFieldsMax } from '../wire/request-head.ts'

/** Names and values in turn, as on the wire (RFC 9110, 5.3: order and repetition are kept). Latin-1. */
export type RawHeaders = readonly string[]

/** All of the head of an answer, and of what follows its body. Bytes. */
export const answerHeadBytesMax = 64 * 1024
/** Fields of a head of an answer. */
export const answerFieldsMax = requestFieldsMax

/** A request as it was audited: nothing of it may be changed on the way but what is said here. */
export interface AppRequest {
  readonly method: string
  /** Origin form (RFC 9112, 3.2.1): path and query, as recorded. */
  readonly target: string
  /** `Host` as the client knows the app, port included where it sent one; lower case. What the app is sent is for its terms. */
  readonly authority: string
  /**
   * What passes of the client's, and what the proxy says (assertion, X-Forwarded-*). Without Host, framing, hop-by-hop
   * fields and evidence. The app adds Host, framing and its credential, which replaces any field of the same name.
   */
  readonly headers: RawHeaders
  /** Bytes of the body; `chunked`: not known before its end; undefined: no body, and none is framed. */
  readonly body: number | 'chunked' | undefined
}

/** What comes back, in this order: any `informational`, then `head`, `data`…, `end`; or `failed` at any point, and then nothing. */
export interface AppAnswer {
  /** 1xx but 101 (RFC 9110, 15.2). */
  informational?(status: number, headers: RawHeaders): void
  /**
   * `isWhole`: the app ended its answer with this head (END_STREAM of RFC 9113), which must be passed on as such: gRPC tells errors so. `end`
   * follows all the same.
   */
  head(status: number, statusText: string, headers: RawHeaders, isWhole: boolean): void
  /** False: stop until `resume` is called. */
  data(chunk: Buffer): boolean
  end(trailers: RawHeaders): void
  /** The connection, its TLS, the credential or the answer's form failed; before `head` the client can still be told. */
  failed(error: SallyportError): void
}

export interface AppCall {
  /** Where the body goes; ended by `session.forwardCall(() => call.body.end())`. Takes nothing where the request has none. */
  readonly body: Writable
  /** Goes on after `data` said false. */
  resume(): void
  /** Gives the exchange up, both ways: its connection is closed or its stream reset. Nothing is answered any more. */
  abort(): void
}

/** An upgrade to a WebSocket: `switched`, or the answer that refuses it. */
export interface AppUpgrade extends AppAnswer {
  /** The app agreed (RFC 6455, 4.2.2; checked). `stream` is the app's side, `head` what it sent already. */
  switched(headers: RawHeaders, stream: Duplex, head: Buffer): void
}

export interface App extends Disposable {
  /** Never throws; what goes wrong is told by `answer.failed`, not before this has returned. */
  send(request: AppRequest, answer: AppAnswer): AppCall
  /**
   * The opening of a WebSocket. `request` is a GET; its headers hold the client's Sec-WebSocket-Protocol and -Extensions at most, the key
   * and version are the app's connection's own.
   */
  upgrade(request: AppRequest, answer: AppUpgrade): AppCall
}
