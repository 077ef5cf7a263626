/**
 * A WebSocket between a client and an app (RFC 6455), frame by frame: bytes pass as they are, and are followed, so that frames are
 * counted, text is recorded where the resource says so, and a cut closes it between two frames.
 */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { ActivitySource, OutcomeStatus } from '../../activity.ts'
import type { Host } from '../../engine.ts'
import { SallyportError, toSallyportError } from '../../kit/errors.ts'
import type { ActivityId, Cut, RecordedFrom, Recording, Session } from '../../session.ts'
import type { HeldLease } from '../downstream/held-lease.ts'
import type { Exchange } from '../wire.ts'
import { linger } from '../wire/linger.ts'
import { closeCodes, closeFrame, FrameError, FrameReader } from '../wire/web-socket-frames.ts'

/** Both sides after the switch. Their ends were not read yet. */
export interface WebSocketRelay {
  readonly session: Session
  /** Who is told that the session takes more. */
  readonly held: Pick<HeldLease, 'awaitDrain' | 'forgetDrain'>
  readonly host: Host
  /** The request that opened it: says whether its client was given up. */
  readonly exchange: Pick<Exchange, 'givenUp'>
  /** The record of the request that opened it. */
  readonly request: ActivityId
  /** Path and query, redacted: what its own record is named by. */
  readonly target: string
  /** The client's stream after the 101, and what it sent already. */
  readonly client: Duplex
  readonly clientHead: Buffer
  readonly app: Duplex
  readonly appHead: Buffer
  /** `permessage-deflate` and the like that both agreed on; ''. */
  readonly extensions: string
}

/** Once one side is gone, the other has so long. Milliseconds. */
const closingMs = 10_000
/** The record of the request that opened it has all of its target. */
const recordedTargetCharactersMax = 1_000

/**
 * Resolves when it is over and its record settled: both sides closed, or cut and its client told so, with 1008 and the reason. Never rejects.
 */
export async function relayWebSocket(between: WebSocketRelay): Promise<void> {
  await new Relay(between).run()
}

class Relay {
  readonly #between: WebSocketRelay
  readonly #startMs: number
  readonly #fromClient: FrameReader
  readonly #fromApp: FrameReader
  /** 0: it has none. */
  #id: ActivityId = 0
  #recording: Recording | undefined
  #recordedBytesLeft: number
  #framesUp = 0
  #framesDown = 0
  #bytesUp = 0
  #bytesDown = 0
  #closeCode: number | undefined
  #failure: SallyportError | undefined
  #isCut = false
  /** Nothing of the app's waits for the client of a cut WebSocket any more; its connection may take longer to close. */
  readonly #told = Promise.withResolvers<void>()
  /** Nothing is relayed any more; the sides say goodbye. */
  #isEnding = false

  constructor(between: WebSocketRelay) {
    this.#between = { ...between, target: between.target.slice(0, recordedTargetCharactersMax) }
    this.#startMs = between.host.clock.monotonicMs()
    this.#recordedBytesLeft = between.host.limits.webSocketTextBytesMax
    const isRecorded = between.session.http?.recorded.webSocketText === true
    const mayCompress = between.extensions !== ''
    const text = (from: RecordedFrom, side: Duplex) =>
      isRecorded
        ? { text: (part: Buffer, isEnd: boolean) => this.#record(from, side, part, isEnd) }
        : {}
    const close = (code: number | undefined): void => {
      this.#closeCode ??= code
    }
    this.#fromClient = new FrameReader(
      {
        ...text('client', between.client),
        ...{ close, pass: (bytes) => this.#up(bytes), frame: () => void this.#framesUp++ },
      },
      { side: 'client', mayCompress },
    )
    this.#fromApp = new FrameReader(
      {
        ...text('upstream', between.app),
        ...{ close, pass: (bytes) => this.#down(bytes), frame: () => void this.#framesDown++ },
      },
      { side: 'app', mayCompress },
    )
  }

  async run(): Promise<void> {
    const { session, held, client, app } = this.#between
    held.awaitDrain(app, () => this.#drained())
    const detach = session.attach(client)
    const gone = Promise.all([closed(client), closed(app)])
    const cut = (): void => this.#cut(session.signal.reason as Cut)
    session.signal.addEventListener('abort', cut, { once: true })
    try {
      this.#begin()
      if (session.signal.aborted) cut()
      await Promise.race([gone, this.#told.promise])
    } finally {
      session.signal.removeEventListener('abort', cut)
      held.forgetDrain(app)
      this.#recording?.end()
      session.settle(this.#id, this.#outcome())
      detach()
    }
  }

  #begin(): void {
    const { session, client, app, clientHead, appHead, target } = this.#between
    client.on('error', () => this.#end())
    app.on('error', (error) => {
      this.#failure ??= toSallyportError(error)
      this.#end()
    })
    client.once('end', () => this.#end())
    app.once('end', () => this.#end())
    client.once('close', () => this.#end())
    app.once('close', () => this.#end())
    if (client.destroyed || app.destroyed) this.#end()
    try {
      this.#id = session.report(opened(target, session))
      if (session.http?.recorded.webSocketText === true) {
        this.#recording = session.record('stream', {
          activity: this.#id,
          title: `WebSocket ${target}`,
        })
      }
    } catch (error) {
      this.#stop(toSallyportError(error), closeCodes.internalError, 'it cannot be recorded')
      return
    }
    this.#take(this.#fromClient, clientHead)
    this.#take(this.#fromApp, appHead)
    client.on('data', (chunk: Buffer) => this.#take(this.#fromClient, chunk))
    app.on('data', (chunk: Buffer) => this.#take(this.#fromApp, chunk))
  }

  #take(reader: FrameReader, chunk: Buffer): void {
    if (this.#isEnding || this.#between.session.isCut || chunk.length === 0) return
    try {
      reader.push(chunk)
    } catch (error) {
      if (error instanceof FrameError) {
        const who = reader === this.#fromClient ? 'client' : 'app'
        const failure = new SallyportError('protocol-violation', `the ${who} sent ${error.message}`)
        this.#stop(failure, error.code, error.message)
      } else {
        this.#stop(toSallyportError(error), closeCodes.internalError, '')
      }
    }
  }

  #up(bytes: Buffer): void {
    const { session, client, app } = this.#between
    this.#bytesUp += bytes.length
    if (!session.forward(app, bytes)) client.pause()
  }

  #down(bytes: Buffer): void {
    const { session, client, app } = this.#between
    this.#bytesDown += bytes.length
    session.countDownstream(bytes.length)
    if (client.write(bytes)) return
    app.pause()
    client.once('drain', () => app.resume())
  }

  /** The app takes more, or the session does, or its recordings do. */
  #drained(): void {
    const { client, app } = this.#between
    client.resume()
    if (!client.writableNeedDrain) app.resume()
  }

  #record(from: RecordedFrom, side: Duplex, part: Buffer, isEnd: boolean): void {
    const recording = this.#recording
    if (recording === undefined || this.#recordedBytesLeft === 0) return
    const text = isEnd ? Buffer.concat([part, lineEnd]) : part
    if (text.length === 0) return
    const bytes = text.subarray(0, this.#recordedBytesLeft)
    this.#recordedBytesLeft -= bytes.length
    if (!recording.write(from, bytes)) side.pause()
    if (this.#recordedBytesLeft === 0) {
      const { webSocketTextBytesMax } = this.#between.host.limits
      recording.mark(`only the first ${webSocketTextBytesMax} bytes of text are recorded`)
    }
  }

  /** One side closed: the other is told in the way of its transport, and waited for. */
  #end(): void {
    const { session, client, app } = this.#between
    // A cut takes the app away before it says why.
    if (this.#isEnding || session.isCut) return
    this.#isEnding = true
    session.forwardCall(() => app.end())
    client.end()
    this.#leave()
  }

  /** Both sides are told why in a close frame, where one fits. */
  #stop(failure: SallyportError, code: number, reason: string): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#failure = failure
    this.#closeCode = code
    const { session, client, app } = this.#between
    if (this.#fromClient.isAtBoundary) {
      session.forward(app, closeFrame(code, reason, randomBytes(4)))
    }
    session.forwardCall(() => app.end())
    if (this.#fromApp.isAtBoundary) client.write(closeFrame(code, reason))
    client.end()
    this.#leave()
  }

  #cut(cut: Cut): void {
    this.#isCut = true
    const { host, client, app } = this.#between
    // Nothing goes to the app any more, not even a goodbye.
    app.destroy()
    if (this.#isEnding) return
    this.#isEnding = true
    this.#closeCode = closeCodes.policyViolation
    this.#recording?.mark(cut.message)
    const words = this.#fromApp.isAtBoundary
      ? closeFrame(closeCodes.policyViolation, cut.message)
      : ''
    // What the app said and the client has not taken is the session's to wait for; the words are ours.
    if (client.writableLength === 0) this.#told.resolve()
    else client.once('finish', () => this.#told.resolve())
    linger(client, host, words)
  }

  #leave(): void {
    const { host, client, app } = this.#between
    // What still comes is thrown away, so that the ends of the streams are seen.
    client.resume()
    app.resume()
    const timer = host.clock.startTimer(closingMs, () => {
      client.destroy()
      app.destroy()
    })
    void Promise.all([closed(client), closed(app)]).then(() => timer.cancel())
  }

  #outcome() {
    const { givenUp } = this.#between.exchange
    const failure = givenUp ?? this.#failure
    const isBrokenOff = this.#isCut || givenUp !== undefined
    const status: OutcomeStatus = isBrokenOff ? 'cancelled' : failure === undefined ? 'ok' : 'error'
    const how = this.#closeCode === undefined ? 'ended' : `closed ${this.#closeCode}`
    return {
      ...{ status, rows: -1, bytesUp: this.#bytesUp, bytesDown: this.#bytesDown },
      durationUs: Math.round((this.#between.host.clock.monotonicMs() - this.#startMs) * 1_000),
      tag: `${how}, frames: ${this.#framesUp} up, ${this.#framesDown} down`,
      ...{ errorCode: failure?.code ?? '', errorText: failure?.message ?? '' },
    }
  }
}

const lineEnd = Buffer.from('\n')

function opened(target: string, { upstream }: Session): ActivitySource {
  return {
    kind: 'websocket',
    encode(fields) {
      fields.utf8('text', `WEBSOCKET ${target}`)
      fields.utf8('path', target)
      fields.utf8('target', `${upstream.host}:${upstream.port}`)
    },
  }
}

function closed(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) resolve()
    else stream.once('close', () => resolve())
  })
}
