/**
 * Requests over HTTP/2 (RFC 9113), by Node's own client: one connection of the session, as many streams as the app allows, and another
 * connection once the app says goodbye. What the app says it did not begin (RFC 9113, 8.7) is sent once more; nothing else is.
 */
import {
  connect as connectHttp2,
  constants,
  type ClientHttp2Session,
  type ClientHttp2Stream,
} from 'node:http2'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { Host } from '../../engine.ts'
import type { Timer } from '../../kit/clock.ts'
import { toSallyportError, type SallyportError } from '../../kit/errors.ts'
import {
  answerFieldsMax,
  answerHeadBytesMax,
  type AppAnswer,
  type AppCall,
  type RawHeaders,
} from './app.ts'
import type { ConnectApp } from './connect.ts'
import { badAnswer, toFailure, tooSlow } from './failures.ts'
import { informationalMax, type Outgoing } from './http1.ts'
import { createRequestBody, noBody, type RequestBody } from './request-body.ts'

/** Of a stream's body so much may be on its way unread. Bytes. */
const windowBytes = 256 * 1024
/** What a connection may hold in memory: windows of as many streams as are usual. In megabytes, as Node has it. */
const connectionMemoryMax = 64

export interface Http2 {
  /** An exchange whose fields may still be on their way. */
  begin(outgoing: Promise<Outgoing> | Outgoing, hasBody: boolean, answer: AppAnswer): AppCall
  close(): void
}

export interface Http2Options {
  readonly connect: ConnectApp
  readonly scheme: 'http' | 'https'
  readonly clock: Host['clock']
  /** From the end of the request to the head of the answer. */
  readonly answerMs: number
}

export function createHttp2(options: Http2Options): Http2 {
  const sessions = new Map<ClientHttp2Session, Socket>()
  let current: Promise<ClientHttp2Session> | undefined
  let isClosed = false

  const open = async (): Promise<ClientHttp2Session> => {
    const socket = await options.connect('h2')
    const session = connectHttp2(`${options.scheme}://app.invalid`, {
      createConnection: () => socket,
      maxSessionMemory: connectionMemoryMax,
      // And `:status`.
      maxHeaderListPairs: answerFieldsMax + 1,
      settings: {
        enablePush: false,
        initialWindowSize: windowBytes,
        maxHeaderListSize: answerHeadBytesMax,
      },
    })
    sessions.set(session, socket)
    session.on('error', () => {})
    session.on('close', () => sessions.delete(session))
    if (isClosed) destroy(session, socket)
    return session
  }

  /** One that could not be opened is forgotten at once: whoever asks next tries anew. */
  const opened = async (): Promise<ClientHttp2Session> => {
    const mine = (current ??= open())
    try {
      const session = await mine
      if (!isOpen(session) && current === mine) current = undefined
      return session
    } catch (error) {
      if (current === mine) current = undefined
      throw error
    }
  }

  const ready = async (): Promise<ClientHttp2Session> => {
    const session = await opened()
    // It said goodbye, or was lost: what is open there goes on, what is new goes elsewhere.
    return isOpen(session) ? session : await opened()
  }

  return {
    begin(outgoing, hasBody, answer) {
      const body = hasBody ? createRequestBody() : undefined
      const exchange = new Exchange(answer, body, options, ready)
      if (outgoing instanceof Promise) {
        outgoing.then(
          (known) => exchange.send(known),
          (error: Error) => exchange.fail(toFailure(error)),
        )
      } else {
        exchange.send(outgoing)
      }
      return exchange
    },
    close() {
      isClosed = true
      for (const [session, socket] of sessions) destroy(session, socket)
    },
  }
}

/**
 * With its socket first, what its streams still hold goes nowhere; by itself it would send that, and a goodbye. With an error, its streams end as
 * broken off, and half an answer is not taken for a whole one.
 */
function destroy(session: ClientHttp2Session, socket: Socket): void {
  socket.destroy()
  session.destroy(new Error('given up'), constants.NGHTTP2_CANCEL)
}

/** One stream and its answer. */
class Exchange implements AppCall {
  #body: Writable | undefined
  readonly #source: RequestBody['source'] | undefined
  readonly #answer: AppAnswer
  readonly #options: Http2Options
  readonly #ready: () => Promise<ClientHttp2Session>
  #stream: ClientHttp2Stream | undefined
  #timer: Timer | undefined
  #trailers: RawHeaders = []
  #informational = 0
  #hasHead = false
  #wasRefused = false
  #isOver = false

  constructor(
    answer: AppAnswer,
    body: RequestBody | undefined,
    options: Http2Options,
    ready: () => Promise<ClientHttp2Session>,
  ) {
    this.#answer = answer
    this.#source = body?.source
    this.#options = options
    this.#ready = ready
    this.#body = body?.target
  }

  get body(): Writable {
    return (this.#body ??= noBody())
  }

  send(outgoing: Outgoing): void {
    this.#ready().then(
      (session) => {
        if (this.#isOver) return
        try {
          this.#open(session, outgoing)
        } catch (error) {
          this.fail(toFailure(error as Error))
        }
      },
      (error: unknown) => this.fail(toSallyportError(error)),
    )
  }

  resume(): void {
    this.#stream?.resume()
  }

  abort(): void {
    if (!this.#finish()) return
    this.#reset()
  }

  fail(error: SallyportError): void {
    if (!this.#finish()) return
    this.#reset()
    // Never before `send` has returned.
    setImmediate(() => this.#answer.failed(error))
  }

  #reset(): void {
    // `close` would end the body first, and so pass half a request off as a whole one.
    this.#stream?.destroy(new Error('given up'))
  }

  #finish(): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    this.#timer?.cancel()
    this.#source?.destroy()
    return true
  }

  #open(session: ClientHttp2Session, outgoing: Outgoing): void {
    const { method, target, host, fields, body } = outgoing
    const source = this.#source
    const stream = session.request(
      [
        ...[':method', method, ':scheme', this.#options.scheme, ':authority', host],
        ...[':path', target, ...fields],
        ...(typeof body === 'number' && body > 0 ? ['content-length', String(body)] : []),
      ],
      { endStream: source === undefined },
    )
    this.#stream = stream
    this.#listen(stream, outgoing)
    if (source === undefined) {
      this.#awaitHead()
      return
    }
    source.once('end', () => this.#awaitHead())
    source.pipe(stream)
  }

  /** The request is whole: from here on the app is the one who takes time. */
  #awaitHead(): void {
    if (this.#hasHead || this.#isOver) return
    this.#timer = this.#options.clock.startTimer(this.#options.answerMs, () =>
      this.fail(tooSlow('the answer of the app')),
    )
  }

  #listen(stream: ClientHttp2Stream, outgoing: Outgoing): void {
    let failure: Error | undefined
    stream.on('headers', (headers, _flags, raw) => {
      if (this.#isOver) return
      if (++this.#informational <= informationalMax) {
        this.#answer.informational?.(Number(headers[':status']), plain(raw))
      } else {
        this.fail(badAnswer(`more than ${informationalMax} of 1xx`))
      }
    })
    stream.on('response', (headers, flags, raw) => {
      if (this.#isOver) return
      this.#hasHead = true
      this.#timer?.cancel()
      const isWhole = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0
      this.#answer.head(Number(headers[':status']), '', plain(raw), isWhole)
      stream.on('data', (chunk: Buffer) => {
        if (!this.#isOver && !this.#answer.data(chunk)) stream.pause()
      })
    })
    stream.on('trailers', (_headers, _flags, raw) => {
      this.#trailers = plain(raw)
    })
    stream.on('end', () => {
      // A reset ends the stream as well, and so does a lost connection.
      if (stream.rstCode !== constants.NGHTTP2_NO_ERROR || !this.#hasHead) return
      if (!this.#finish()) return
      this.#answer.end(this.#trailers)
      // A body that the app did not wait for: left open, the stream would keep its place on the connection for good.
      if (!stream.writableEnded) this.#reset()
    })
    stream.on('error', (error: Error) => {
      failure = error
    })
    stream.on('close', () => {
      if (this.#isOver || this.#isSentAgain(stream, outgoing)) return
      this.fail(
        failure === undefined ? badAnswer(`stream reset, ${stream.rstCode}`) : toFailure(failure),
      )
    })
  }

  #isSentAgain(stream: ClientHttp2Stream, outgoing: Outgoing): boolean {
    if (stream.rstCode !== constants.NGHTTP2_REFUSED_STREAM) return false
    if (this.#wasRefused || this.#hasHead || this.#source !== undefined) return false
    this.#wasRefused = true
    this.#timer?.cancel()
    this.send(outgoing)
    return true
  }
}

/** Node closes a session for new streams once it has a GOAWAY (RFC 9113, 6.8). */
function isOpen(session: ClientHttp2Session): boolean {
  return !session.closed && !session.destroyed
}

/** Without pseudo-header fields (RFC 9113, 8.3). */
function plain(raw: readonly string[]): string[] {
  const headers: string[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if (!raw[at]!.startsWith(':')) headers.push(raw[at]!, raw[at + 1]!)
  }
  return headers
}
