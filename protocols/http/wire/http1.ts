/** HTTP/1.0 and 1.1 by Node's parser. One server that never listens serves every connection; what it is told lies with the socket. */
import { createServer, ServerResponse, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { SallyportError } from '../../kit/errors.ts'
import type { RawHeaders } from '../upstream/app.ts'
import type { AnswerHead, Exchange } from '../wire.ts'
import { AnswerDownstream } from './answer-downstream.ts'
import { BaseExchange } from './base-exchange.ts'
import {
  fieldTokens,
  fieldValues,
  isFieldName,
  isFieldValue,
  isOfOneHop,
  lowerNames,
} from './fields.ts'
import { HttpRefusal, malformed } from './refusal.ts'
import { requestHeadBytesMax } from './request-head.ts'

/** Who is told what comes on a connection. */
export interface Http1Listener {
  request(exchange: Exchange): void
  /** The opening of a WebSocket: `open` writes 101 and gives the stream. */
  webSocket(exchange: Exchange, open: OpenWebSocket): void
  /** What came is no request; nothing more is read. */
  broken(refusal: HttpRefusal): void
}

/** `fields` in addition to Upgrade and Connection. `head` is what the client sent before it was answered. */
export type OpenWebSocket = (fields: RawHeaders) => {
  readonly stream: Duplex
  readonly head: Buffer
}

interface Served {
  readonly listener: Http1Listener
  /** Requests that are not answered yet, in order. */
  readonly waiting: Http1Exchange[]
  /** More came than may wait: what follows is read no more. */
  isFull: boolean
}

const connections = new WeakMap<Duplex, Served>()

/** Requests of one connection that are not answered yet. */
const waitingMax = 64

const server = createServer({
  insecureHTTPParser: false,
  maxHeaderSize: requestHeadBytesMax,
  // Deadlines are the connection's, by its clock.
  headersTimeout: 0,
  requestTimeout: 0,
  keepAliveTimeout: 0,
  requireHostHeader: false,
  optimizeEmptyRequests: true,
  shouldUpgradeCallback: (request) => isWebSocket(request),
})
// Node drops fields past this number without a word; counting them is the check's.
server.maxHeadersCount = 0
server.timeout = 0
server.on('request', (request: IncomingMessage, response: ServerResponse) =>
  arrived(request, response, false),
)
server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
  arrived(request, response, true),
)
server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
  arrived(request, response, false),
)
server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket as TLSSocket)
  // Nobody else ends it where the WebSocket is refused: the parser has left.
  response.once('finish', () => (socket as TLSSocket).destroySoon())
  const exchange = new Http1Exchange(request, response, false)
  connections.get(socket)?.listener.webSocket(exchange, (fields) => {
    response.detachSocket(socket as TLSSocket)
    exchange.isOver = true
    let text = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    for (let at = 0; at < fields.length; at += 2) text += `${fields[at]}: ${fields[at + 1]}\r\n`
    socket.write(`${text}\r\n`, 'latin1')
    return { stream: socket, head }
  })
})
server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
  const served = connections.get(socket)
  // Node's server has left: nothing would go on with an answer that waits for its client, nor may ours stand in the middle of it.
  if (served !== undefined && served.waiting.length > 0) {
    socket.destroy()
    return
  }
  const refusal = new HttpRefusal(405, 'unsupported-feature', 'there are no tunnels here', {
    isLast: true,
  })
  served?.listener.broken(refusal)
})
server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
  const refusal = refusalFor(error)
  const served = connections.get(socket)
  const waiting = [...(served?.waiting ?? [])]
  for (const each of waiting) if (!each.source.complete) each.breakOff(refusal)
  const last = waiting.at(-1)
  // Requests that came whole before it are answered first (RFC 9112, 9.3.2).
  if (last === undefined) served?.listener.broken(refusal)
  else if (last.source.complete) last.onClose(() => served?.listener.broken(refusal))
})

/** Serves a connection on which TLS is done. */
export function serveHttp1(socket: TLSSocket, listener: Http1Listener): void {
  connections.set(socket, { listener, waiting: [], isFull: false })
  server.emit('connection', socket)
}

function arrived(
  request: IncomingMessage,
  response: ServerResponse,
  expectsContinue: boolean,
): void {
  const { socket } = request
  const served = connections.get(socket)
  if (served === undefined || served.isFull) return
  const { listener, waiting } = served
  if (waiting.length >= waitingMax) {
    served.isFull = true
    // Those before it are answered, and their client may ask for the rest again (RFC 9112, 9.3.2).
    waiting.at(-1)!.beLast()
    // Not from within Node's parser.
    setImmediate(() => stopParsing(socket))
    return
  }
  const exchange = new Http1Exchange(request, response, expectsContinue, waiting)
  waiting.push(exchange)
  listener.request(exchange)
}

/** The parser lets go once somebody else listens. */
function stopParsing(socket: Duplex): void {
  socket.removeAllListeners('data')
  socket.on('data', ignored)
  socket.pause()
}

/** Behind a request that is not answered yet its Upgrade is ignored (RFC 9110, 7.8): the socket is still that answer's. */
function isWebSocket({ method, httpVersion, headers, socket }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    connections.get(socket)?.waiting.length === 0
  )
}

function refusalFor({ code, message }: NodeJS.ErrnoException): HttpRefusal {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new HttpRefusal(431, 'frame-too-large', 'the header is too large', { isLast: true })
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new HttpRefusal(413, 'frame-too-large', 'chunk extensions are too large', {
        isLast: true,
      })
    default:
      return malformed(`this is not HTTP/1.1 (${message.replace(/^Parse Error: /, '')})`)
  }
}

class Http1Exchange extends BaseExchange implements Exchange {
  readonly version: '1.0' | '1.1' | 'other'
  readonly method: string
  readonly target: string
  readonly authority = undefined
  readonly headers: RawHeaders
  readonly body: number | 'chunked' | undefined
  readonly expectsContinue: boolean
  readonly source: IncomingMessage
  readonly #response: ServerResponse
  /** Where it stands until it is over. */
  readonly #waiting: Http1Exchange[] | undefined
  #onBroken: ((refusal: HttpRefusal) => void) | undefined
  #broken: HttpRefusal | undefined
  #isGathering = false
  /** What `end` was given while it gathered. */
  #endsWith: RawHeaders | undefined

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue: boolean,
    waiting?: Http1Exchange[],
  ) {
    super(response)
    const { httpVersion } = request
    this.version = httpVersion === '1.1' || httpVersion === '1.0' ? httpVersion : 'other'
    this.method = request.method ?? ''
    this.target = request.url ?? ''
    this.headers = lowerNames(request.rawHeaders)
    const { 'transfer-encoding': coding, 'content-length': length } = request.headers
    this.body = coding !== undefined ? 'chunked' : length === undefined ? undefined : Number(length)
    this.expectsContinue = expectsContinue
    this.source = request
    this.#response = response
    this.#waiting = waiting
    // What follows an upgrade that is not made cannot be told from what it would have carried.
    if (request.headers.upgrade !== undefined) response.shouldKeepAlive = false
    request.on('error', ignored)
    response.on('error', ignored)
  }

  protected override closed(): void {
    const at = this.#waiting?.indexOf(this) ?? -1
    if (at >= 0) this.#waiting!.splice(at, 1)
    super.closed()
  }

  get downstream(): Exchange['downstream'] {
    return new AnswerDownstream(this, this.#response)
  }

  get hasBegun(): boolean {
    return this.#response.headersSent
  }

  get isReceived(): boolean {
    return this.source.complete
  }

  get isLast(): boolean {
    return !this.#response.shouldKeepAlive || this.#broken !== undefined
  }

  beLast(): void {
    this.#response.shouldKeepAlive = false
  }

  goOn(): void {
    this.#response.writeContinue()
  }

  informational(status: number, headers: RawHeaders): void {
    if (this.version === '1.0' || status !== 103) return
    const link = fieldValues(headers, 'link').filter((value) => plainLink.test(value))
    if (link.length === 0) return
    try {
      this.#response.writeEarlyHints({ link })
    } catch {
      // Hints that Node does not write; the answer needs none.
    }
  }

  head(status: number, headers: RawHeaders, how: AnswerHead = {}): void {
    const response = this.#response
    if (how.last === true) response.shouldKeepAlive = false
    if (how.gathers === true) {
      this.#isGathering = true
      response.socket?.cork()
    }
    const fields = headers as string[]
    if (how.statusText === undefined || how.statusText === '') response.writeHead(status, fields)
    else response.writeHead(status, how.statusText, fields)
  }

  flush(): void {
    if (!this.#isGathering) return
    this.#isGathering = false
    if (this.#endsWith === undefined) {
      this.#response.flushHeaders()
      this.#response.socket?.uncork()
    } else {
      // Uncorks too.
      this.end(this.#endsWith)
    }
  }

  end(trailers: RawHeaders = []): void {
    if (this.#isGathering) {
      this.#endsWith = trailers
      return
    }
    if (trailers.length > 0 && this.version === '1.1') {
      const pairs: [string, string][] = []
      for (let at = 0; at < trailers.length; at += 2) pairs.push([trailers[at]!, trailers[at + 1]!])
      this.#response.addTrailers(pairs)
    }
    this.#response.end()
  }

  abandon(): void {
    this.isOver = true
    this.#response.destroy()
    this.source.destroy()
  }

  get bytesWaiting(): number {
    return this.source.socket.writableLength
  }

  get bytesTaken(): number {
    const { bytesWritten, writableLength } = this.source.socket
    return bytesWritten - writableLength
  }

  giveUp(why: SallyportError): void {
    this.givenUp ??= why
    this.source.socket.destroy()
  }

  onBroken(listener: (refusal: HttpRefusal) => void): void {
    this.#onBroken = listener
    if (this.#broken !== undefined) listener(this.#broken)
  }

  breakOff(refusal: HttpRefusal): void {
    if (this.#broken !== undefined) return
    this.#broken = refusal
    this.#onBroken?.(refusal)
  }
}

function ignored(): void {}

/**
 * A link of RFC 8288, 3, that can be read in one way. Node looks at what it is to send by an expression that takes twice the time for each
 * parameter of a link that does not fit: what fits here fits there at once.
 */
const plainLink = /^<[^<>]*>(?:[\t ]*;[\t ]*[^\s;"=]+(?:=(?:"[^\s;"]*"|[^\s;"]*))?)*$/

/** Fields that were sent after a body and may go on: none that says where it ends, who asks or how to read it. */
export function passingTrailers(trailers: RawHeaders): RawHeaders {
  if (trailers.length === 0) return trailers
  const lower = lowerNames(trailers)
  const named = fieldTokens(lower, 'connection')
  return lower.flatMap((name, at) => {
    if (at % 2 === 1 || isOfOneHop(name, named) || forbiddenInTrailers.has(name)) return []
    const value = lower[at + 1]!
    const mayPass = isFieldName(name) && isFieldValue(value) && !name.startsWith('sallyport-')
    return mayPass ? [name, value] : []
  })
}

/** RFC 9110, 6.5.1. */
const forbiddenInTrailers = new Set([
  ...['content-length', 'content-encoding', 'content-type', 'content-range', 'host'],
  ...['set-cookie', 'cookie', 'authorization', 'cache-control', 'location', 'date', 'expires'],
  ...['clear-site-data', 'www-authenticate', 'strict-transport-security', 'refresh', 'status'],
])
