/**
 * Requests over HTTP/1.1 (RFC 9112), by undici's dispatcher: a pool of the session's connections, one request at a time on each. Nothing
 * is sent twice: one record in the audit is at most one request at the app.
 */
import { Pool, type Dispatcher } from 'undici'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex, Writable } from 'node:stream'
import type { SallyportError } from '../../kit/errors.ts'
import { answerHeadBytesMax, type AppAnswer, type AppCall } from './app.ts'
import type { ConnectApp } from './connect.ts'
import { badAnswer, toFailure } from './failures.ts'
import { rawHeadersOf } from './raw-headers.ts'
import { createRequestBody, noBody, type RequestBody } from './request-body.ts'

/** Answers of 1xx before the answer: each gives the app its time anew, and may go to a client that takes none of them. */
export const informationalMax = 64

/** What is sent: everything but framing. */
export interface Outgoing {
  readonly method: string
  readonly target: string
  readonly host: string
  readonly fields: readonly string[]
  readonly body: number | 'chunked' | undefined
}

/** An answer that may be a switch of protocols instead. */
export interface UpgradeAnswer extends AppAnswer {
  upgraded(headers: readonly string[], stream: Duplex): void
}

export interface Http1 {
  /** An exchange whose fields may still be on their way. */
  begin(outgoing: Promise<Outgoing> | Outgoing, hasBody: boolean, answer: AppAnswer): AppCall
  /** The same, asking for a WebSocket. */
  beginUpgrade(outgoing: Promise<Outgoing> | Outgoing, answer: UpgradeAnswer): AppCall
  close(): void
}

export interface Http1Options {
  readonly connect: ConnectApp
  readonly connectionsMax: number
  /** From the end of the request to the head of the answer. */
  readonly answerMs: number
}

export function createHttp1({ connect, connectionsMax, answerMs }: Http1Options): Http1 {
  // The name leads nowhere: every connection is the session's own. Its scheme is http since TLS is done where the socket is made.
  const pool = new Pool('http://app.invalid', {
    ...{ connections: connectionsMax, pipelining: 1, allowH2: false },
    ...{ maxHeaderSize: answerHeadBytesMax, headersTimeout: answerMs, bodyTimeout: 0 },
    connect: (_options, done) => void hand(connect, done),
  })
  return {
    begin(outgoing, hasBody, answer) {
      return start(pool, outgoing, hasBody ? createRequestBody() : undefined, answer, undefined)
    },
    beginUpgrade(outgoing, answer) {
      return start(pool, outgoing, undefined, answer, answer)
    },
    close() {
      pool.destroy().catch(() => {})
    },
  }
}

/** Opens a connection for undici. */
async function hand(
  connect: ConnectApp,
  done: (...given: [error: null, socket: Socket] | [error: Error, socket: null]) => void,
): Promise<void> {
  let socket: Socket
  try {
    socket = await connect('http/1.1')
  } catch (error) {
    done(error as Error, null)
    return
  }
  done(null, socket)
}

function start(
  pool: Pool,
  outgoing: Promise<Outgoing> | Outgoing,
  body: RequestBody | undefined,
  answer: AppAnswer,
  upgrade: UpgradeAnswer | undefined,
): AppCall {
  const exchange = new Exchange(answer, body, upgrade)
  if (outgoing instanceof Promise) {
    outgoing.then(
      (ready) => exchange.dispatch(pool, ready),
      (error: Error) => exchange.fail(toFailure(error)),
    )
  } else {
    exchange.dispatch(pool, outgoing)
  }
  return exchange
}

/** One request and its answer: what undici tells, and what the relay asks. */
class Exchange implements Dispatcher.DispatchHandler, AppCall {
  #body: Writable | undefined
  readonly #source: RequestBody['source'] | undefined
  readonly #answer: AppAnswer
  readonly #upgrade: UpgradeAnswer | undefined
  #controller: Dispatcher.DispatchController | undefined
  #informational = 0
  #isOver = false

  constructor(
    answer: AppAnswer,
    body: RequestBody | undefined,
    upgrade: UpgradeAnswer | undefined,
  ) {
    this.#answer = answer
    this.#upgrade = upgrade
    this.#source = body?.source
    this.#body = body?.target
  }

  get body(): Writable {
    return (this.#body ??= noBody())
  }

  dispatch(pool: Pool, { method, target, host, fields, body }: Outgoing): void {
    if (this.#isOver) return
    const headers = ['host', host, ...fields]
    if (typeof body === 'number' && body > 0) headers.push('content-length', String(body))
    const upgrade = this.#upgrade === undefined ? null : 'websocket'
    pool.dispatch({ method, path: target, headers, body: this.#source ?? null, upgrade }, this)
  }

  resume(): void {
    this.#controller?.resume()
  }

  abort(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#source?.destroy()
    this.#controller?.abort(new Error('given up'))
  }

  fail(error: SallyportError): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#source?.destroy()
    // Never before `send` has returned.
    setImmediate(() => this.#answer.failed(error))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#isOver) controller.abort(new Error('given up'))
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: IncomingMessage['headers'],
    statusText = '',
  ): void {
    if (this.#isOver) return
    const headers = rawHeadersOf(controller.rawHeaders as Buffer[])
    if (status >= 200) this.#answer.head(status, statusText, headers, false)
    else if (++this.#informational <= informationalMax) {
      this.#answer.informational?.(status, headers)
    } else {
      this.fail(badAnswer(`more than ${informationalMax} of 1xx`))
      controller.abort(new Error('given up'))
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#isOver && !this.#answer.data(chunk)) controller.pause()
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#answer.end(rawHeadersOf(controller.rawTrailers as Buffer[]))
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    _status: number,
    _headers: IncomingMessage['headers'],
    stream: Duplex,
  ): void {
    if (this.#isOver) {
      stream.destroy()
      return
    }
    this.#isOver = true
    stream.on('error', () => {})
    this.#upgrade?.upgraded(rawHeadersOf(controller.rawHeaders as Buffer[]), stream)
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.fail(toFailure(error))
  }
}
