/** HTTP/2 by nghttp2 (RFC 9113), one session of it for each connection. */
import {
  constants,
  performServerHandshake,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { SallyportError } from '../../kit/errors.ts'
import type { Limits } from '../../kit/limits.ts'
import { answerHeadBytesMax, type RawHeaders } from '../upstream/app.ts'
import type { AnswerHead, Exchange } from '../wire.ts'
import { AnswerDownstream } from './answer-downstream.ts'
import { BaseExchange } from './base-exchange.ts'
import { requestFieldsMax, requestHeadBytesMax } from './request-head.ts'

const { NGHTTP2_FLAG_END_STREAM: endStreamFlag } = constants

/** Resets by the client at once, and then in a second: more is an attack (CVE-2023-44487). */
const resetBurst = 1_000
const resetRate = 33

const trailing = { waitForTrailers: true }

/** Serves a connection on which TLS is done. Resolves to nothing: the socket's end is its end. */
export function serveHttp2(
  socket: TLSSocket,
  limits: Pick<Limits, 'streamsMax'>,
  onExchange: (exchange: Exchange) => void,
): ServerHttp2Session {
  const session = performServerHandshake(socket, {
    maxHeaderListPairs: requestFieldsMax,
    maxSettings: 32,
    // Of answers that were checked, and what the proxy says besides: past it all streams of the connection end.
    maxSendHeaderBlockLength: 2 * answerHeadBytesMax,
    maxOutstandingPings: 4,
    maxSessionInvalidFrames: 20,
    maxSessionRejectedStreams: 50,
    maxSessionMemory: 32,
    streamResetBurst: resetBurst,
    streamResetRate: resetRate,
    // What an app says twice is passed on twice: it must not throw here.
    strictSingleValueFields: false,
    settings: {
      maxConcurrentStreams: limits.streamsMax,
      // nghttp2 counts each field 32 bytes larger than it is.
      maxHeaderListSize: requestHeadBytesMax,
      enablePush: false,
      enableConnectProtocol: false,
    },
  })
  session.on('error', () => socket.destroy())
  session.on('frameError', () => {})
  session.on(
    'stream',
    (
      stream: ServerHttp2Stream,
      headers: IncomingHttpHeaders,
      flags: number,
      raw: readonly string[],
    ) => {
      stream.on('error', ignored)
      onExchange(new Http2Exchange(stream, headers, flags, raw))
    },
  )
  return session
}

class Http2Exchange extends BaseExchange implements Exchange {
  readonly version = '2'
  readonly isLast = false
  readonly method: string
  readonly target: string
  readonly authority: string | undefined
  readonly headers: RawHeaders
  readonly body: number | 'chunked' | undefined
  readonly expectsContinue: boolean
  readonly source: ServerHttp2Stream
  #bytesWritten = 0
  #trailers: RawHeaders = []
  #waitsForTrailers = false

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    raw: readonly string[],
  ) {
    super(stream)
    this.method = headers[':method'] ?? ''
    this.target = headers[':path'] ?? ''
    this.authority = headers[':authority']
    this.headers = withoutPseudo(raw)
    const length = headers['content-length']
    const isEmpty = (flags & endStreamFlag) !== 0
    this.body = isEmpty ? undefined : length === undefined ? 'chunked' : Number(length)
    this.expectsContinue = headers.expect?.toLowerCase() === '100-continue'
    this.source = stream
  }

  get downstream(): Exchange['downstream'] {
    return new StreamDownstream(this, this.source)
  }

  get hasBegun(): boolean {
    return this.source.headersSent
  }

  /** A reset ends the source as well: then nothing is whole. */
  get isReceived(): boolean {
    const { readableEnded, aborted, rstCode } = this.source
    return readableEnded && !aborted && rstCode === constants.NGHTTP2_NO_ERROR && this.#isOpen()
  }

  goOn(): void {
    if (this.#isOpen()) this.source.additionalHeaders({ ':status': 100 })
  }

  informational(status: number, headers: RawHeaders): void {
    if (status !== 103 || this.hasBegun) return
    this.#say(() => this.source.additionalHeaders(outgoing(headers, status)))
  }

  head(status: number, headers: RawHeaders, how: AnswerHead = {}): void {
    if (how.isWhole === true) {
      this.#say(() => this.source.respond(withStatus(status, headers), { endStream: true }))
      return
    }
    const waitForTrailers = how.mayTrail === true
    if (waitForTrailers) {
      this.#waitsForTrailers = true
      this.source.once('wantTrailers', () => {
        this.#say(() => this.source.sendTrailers(outgoing(this.#trailers)))
        this.#stopClient()
      })
    }
    const options = waitForTrailers ? trailing : {}
    this.#say(() => this.source.respond(withStatus(status, headers), options))
  }

  override write(chunk: Buffer): boolean {
    this.#bytesWritten += chunk.length
    return super.write(chunk)
  }

  flush(): void {}

  end(trailers: RawHeaders = []): void {
    this.#trailers = trailers
    this.source.end()
    if (!this.source.readableEnded) this.source.resume()
    if (!this.#waitsForTrailers) this.source.once('finish', () => this.#stopClient())
  }

  /**
   * What is still sent of the request interests nobody any more: NO_ERROR asks the client to stop, and the answer stands (RFC 9113,
   * 8.1). A stream that was left open would keep its connection for as long as its client likes.
   */
  #stopClient(): void {
    if (this.body === undefined || this.source.readableEnded) return
    // Node sends trailers in an immediate of its own, and none once the stream counts as closed.
    setImmediate(() => {
      if (this.#isOpen()) this.source.close(constants.NGHTTP2_NO_ERROR)
    })
  }

  abandon(): void {
    this.isOver = true
    // `close` would end the body first, and so pass half an answer off as a whole one.
    this.source.destroy(new Error('broken off'))
  }

  get bytesWaiting(): number {
    return this.source.writableLength
  }

  get bytesTaken(): number {
    return this.#bytesWritten - this.source.writableLength
  }

  giveUp(why: SallyportError): void {
    this.givenUp ??= why
    this.abandon()
  }

  /** A stream that cannot be read is reset by nghttp2, and so closed. */
  onBroken(): void {}

  #isOpen(): boolean {
    return !this.source.destroyed && !this.source.closed
  }

  /** What HTTP/2 does not have resets the stream: thrown in one of its events, it would end the process. */
  #say(run: () => void): void {
    if (!this.#isOpen()) return
    try {
      run()
    } catch {
      this.abandon()
    }
  }
}

function ignored(): void {}

class StreamDownstream extends AnswerDownstream {
  readonly #stream: ServerHttp2Stream

  constructor(exchange: Http2Exchange, stream: ServerHttp2Stream) {
    super(exchange, stream)
    this.#stream = stream
  }

  override destroy(error?: Error): void {
    // Without an error it would be forgotten here, and the client told nothing.
    super.destroy(error ?? new Error('broken off'))
  }

  override resume(): void {
    this.#stream.resume()
  }
}

function withStatus(status: number, headers: RawHeaders): string[] {
  return [':status', String(status), ...headers]
}

function withoutPseudo(raw: readonly string[]): string[] {
  const headers: string[] = []
  for (let at = 0; at < raw.length; at += 2) {
    if (!raw[at]!.startsWith(':')) headers.push(raw[at]!, raw[at + 1]!)
  }
  return headers
}

/** Fields as an object, which is what nghttp2's binding takes; repeated ones stay apart. */
function outgoing(headers: RawHeaders, status?: number): OutgoingHttpHeaders {
  const fields = Object.create(null) as Record<string, string | string[]>
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!
    const before = fields[name]
    const value = headers[at + 1]!
    fields[name] =
      before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  const all: OutgoingHttpHeaders = fields
  if (status !== undefined) all[':status'] = status
  return all
}
