/** One request from its record to its outcome: out by the session, back to the client, with back-pressure both ways. */
import type { Writable } from 'node:stream'
import { newOutcome } from '../activity.ts'
import type { Host } from '../engine.ts'
import type { Timer } from '../kit/clock.ts'
import { passedThrough } from '../kit/passed-through.ts'
import type { Place } from '../kit/roster.ts'
import { toSallyportError, type SallyportError } from '../kit/errors.ts'
import type { ActivityId, Cut, HttpTerms, Session } from '../session.ts'
import { answerRefusal } from './downstream/answer.ts'
import type { Leaseholder } from './downstream/held-lease.ts'
import { cutStatus, refusalWords, warningHeaders } from './downstream/refusal-words.ts'
import { noteGone } from './observe.ts'
import { redactQuery } from './observe/redact-query.ts'
import { appOf, appRequestOf, logFailure, reportRequest, type Admitted } from './relay/admitted.ts'
import { bodyTooLarge, checkTerms } from './relay/check-terms.ts'
import {
  announcesTrailers,
  answerHeaders,
  faultOfHead,
  isTooLarge,
  responseHeaders,
  statusTextOf,
} from './relay/response-headers.ts'
import { recordBodies, type BodyRecording } from './relay/record-bodies.ts'
import { tellCut } from './relay/tell-cut.ts'
import { badAnswer } from './upstream/failures.ts'
import type { AppAnswer, AppCall, AppRequest, RawHeaders } from './upstream/app.ts'
import type { Exchange } from './wire.ts'
import { flushSoon } from './wire/flush-soon.ts'
import { passingTrailers } from './wire/http1.ts'
import { HttpRefusal, statusOf } from './wire/refusal.ts'

/** Relays a request. Never throws: what goes wrong is answered. */
export function relayRequest(admitted: Admitted): void {
  new RelayedRequest(admitted).start()
}

class RelayedRequest implements AppAnswer, Leaseholder {
  readonly #admitted: Admitted
  readonly #exchange: Exchange
  readonly #session: Session
  readonly #terms: HttpTerms
  readonly #outcome = newOutcome()
  readonly #startedMs: number
  readonly #detach: () => void
  readonly #place: Place<Leaseholder>
  #id: ActivityId = 0
  #call: AppCall | undefined
  #isEntered = false
  #isSettled = false
  #bodyTimer: Timer | undefined
  #answerWaits = false
  #bodies: BodyRecording | undefined

  constructor(admitted: Admitted) {
    const { exchange, held, host } = admitted
    this.#admitted = admitted
    this.#exchange = exchange
    this.#session = held.session
    this.#terms = held.session.http!
    this.#startedMs = host.clock.monotonicMs()
    this.#detach = this.#session.attach(exchange.downstream)
    this.#place = held.enter(this)
    exchange.onClose(() => this.#closed())
    exchange.onBroken((refusal) => this.#refuse(refusal))
    exchange.onDrain(() => this.#resumeAnswer())
  }

  drained(target: Writable | undefined): void {
    if (this.#isSettled || this.#call === undefined) return
    const { body, source } = this.#exchange
    if (body === undefined) {
      if (target === undefined) this.#resumeAnswer()
      return
    }
    const own = this.#call.body
    if (target === undefined ? own.writableNeedDrain : target !== own) return
    source.resume()
    this.#resumeAnswer()
  }

  #resumeAnswer(): void {
    if (!this.#answerWaits) return
    this.#answerWaits = false
    this.#call?.resume()
  }

  start(): void {
    const admitted = this.#admitted
    const { exchange, asked, held, host } = admitted
    let request: AppRequest
    try {
      this.#id = reportRequest(admitted, this.#terms, host)
      // Its holders will be told, this turn or the next, and answer then.
      if (this.#session.isCut) return
      checkTerms(admitted, this.#terms)
      held.counter.enter()
      this.#isEntered = true
      request = appRequestOf(admitted, this.#terms)
    } catch (error) {
      this.#refuse(toSallyportError(error))
      return
    }
    const path = redactQuery(asked.path, this.#terms.redactedParameters)
    this.#bodies = recordBodies(held.session, this.#id, `${exchange.method} ${path}`)
    // The record is committed before anything leaves; a cut meanwhile drops this.
    this.#session.forwardCall(() => {
      if (this.#isSettled) return
      this.#call = appOf(this.#session, host).send(request, this)
      if (exchange.body !== undefined) this.#sendBody(this.#call)
    })
  }

  #sendBody(call: AppCall): void {
    const { exchange, host } = this.#admitted
    const { source } = exchange
    const { bodyBytesMax } = this.#terms.limits
    source.on('data', (chunk: Buffer) => {
      if (this.#isSettled) return
      passedThrough(chunk.length)
      this.#outcome.bytesUp += chunk.length
      if (bodyBytesMax > 0 && this.#outcome.bytesUp > bodyBytesMax) {
        this.#refuse(bodyTooLarge())
        return
      }
      const isRecorded = this.#record('request', chunk)
      if (this.#isSettled) return
      if (!this.#session.forward(call.body, chunk) || !isRecorded) source.pause()
    })
    source.on('end', () => {
      this.#bodyTimer?.cancel()
      // Half a body is never passed off as a whole one; that it broke off is told by `onClose`.
      if (!this.#isSettled && exchange.isReceived) {
        this.#session.forwardCall(() => void call.body.end())
      }
    })
    this.#watchBody(host)
    if (exchange.expectsContinue) exchange.goOn()
  }

  /** A client that begins a body and does not go on keeps a connection of the app's for nothing. */
  #watchBody({ clock, limits }: Host): void {
    let before = -1
    const { source } = this.#exchange
    const look = (): void => {
      if (this.#isSettled || source.readableEnded) return
      if (this.#outcome.bytesUp === before && !source.isPaused()) {
        const late = new HttpRefusal(408, 'handshake-timeout', 'the body took too long', {
          isLast: true,
        })
        this.#refuse(late)
        return
      }
      before = this.#outcome.bytesUp
      this.#bodyTimer = clock.startTimer(limits.requestBodyMs, look)
    }
    this.#bodyTimer = clock.startTimer(limits.requestBodyMs, look)
  }

  /** Nothing more of the app's passes: it is settled, or about to be told of its cut. */
  get isOver(): boolean {
    return this.#isSettled || this.#session.isCut
  }

  informational(status: number, headers: RawHeaders): void {
    if (!this.isOver && !this.#exchange.hasBegun && !isTooLarge(headers)) {
      this.#exchange.informational(status, responseHeaders(headers))
    }
  }

  head(status: number, statusText: string, headers: RawHeaders, isWhole: boolean): void {
    if (this.isOver) return
    const fault = faultOfHead(status, headers)
    if (fault !== undefined) {
      this.#fault(fault)
      return
    }
    const exchange = this.#exchange
    this.#outcome.tag = String(status)
    if (status >= 400) this.#outcome.status = 'error'
    const passing = answerHeaders(status, headers)
    if (this.#session.warning !== undefined) passing.push(...warningHeaders(this.#session))
    const mayTrail = this.#terms.version === '2' || announcesTrailers(headers)
    // What is left of a body that the app does not wait for.
    const last = exchange.body !== undefined && !exchange.source.readableEnded
    exchange.head(status, passing, {
      statusText: statusTextOf(statusText),
      mayTrail,
      last,
      isWhole,
      gathers: true,
    })
    flushSoon(this)
  }

  data(chunk: Buffer): boolean {
    // The body of a 205 is none (RFC 9110, 15.3.6).
    if (this.isOver || this.#outcome.tag === '205') return true
    passedThrough(chunk.length)
    this.#outcome.bytesDown += chunk.length
    const isRecorded = this.#record('answer', chunk)
    if (this.#isSettled) return true
    this.#session.countDownstream(chunk.length)
    if (this.#exchange.write(chunk) && isRecorded) return true
    this.#answerWaits = true
    return false
  }

  /** Before a chunk goes on. False: wait. What cannot be recorded ends the exchange. */
  #record(side: 'request' | 'answer', chunk: Buffer): boolean {
    try {
      return this.#bodies?.[side](chunk) ?? true
    } catch (error) {
      this.#refuse(toSallyportError(error))
      return false
    }
  }

  /** What was kept back when it was cut is never sent. */
  flush(): void {
    if (!this.#session.isCut && !this.#exchange.isOver) this.#exchange.flush()
  }

  end(trailers: RawHeaders): void {
    if (this.isOver) return
    if (isTooLarge(trailers)) {
      this.#fault('too many trailers, or too large ones')
      return
    }
    this.#settle()
    const { body, source } = this.#exchange
    // What is left of a body that the app did not wait for.
    if (body !== undefined && !source.readableEnded) this.#call?.abort()
    this.#exchange.end(passingTrailers(trailers))
  }

  #fault(why: string): void {
    this.#call?.abort()
    this.failed(badAnswer(why))
  }

  failed(error: SallyportError): void {
    if (this.isOver) return
    this.#call = undefined
    logFailure(this.#admitted, error)
    this.#refuse(error)
  }

  cut(cut: Cut): void {
    const isTold = this.#isSettled
    this.#outcome.status = 'cancelled'
    if (!this.#exchange.hasBegun) this.#outcome.tag = cutStatus
    this.#giveUp()
    if (this.#exchange.hasBegun) {
      // Also what the app had ended and the client not yet taken.
      this.#exchange.abandon()
    } else if (!isTold) {
      tellCut(this.#admitted, cut, this.#detach)
    }
  }

  /** Something that is the client's or the app's doing; said to the client if nothing was said yet. */
  #refuse(error: SallyportError): void {
    if (this.#isSettled) return
    const { asked, host } = this.#admitted
    host.refused(error.code)
    this.#outcome.status = 'error'
    this.#outcome.errorCode = error.code
    this.#outcome.errorText = error.clientMessage
    if (!this.#exchange.hasBegun) this.#outcome.tag = String(statusOf(error))
    this.#giveUp()
    if (this.#exchange.hasBegun) this.#exchange.abandon()
    else answerRefusal(this.#exchange, error, refusalWords(error, asked, this.#exchange))
  }

  /** The answer is with the client, or the client is gone. */
  #closed(): void {
    if (!this.#isSettled) noteGone(this.#outcome, this.#exchange)
    this.#giveUp()
    this.#detach()
    this.#admitted.held.leave(this.#place)
  }

  #giveUp(): void {
    if (this.#isSettled) return
    this.#settle()
    this.#call?.abort()
  }

  #settle(): void {
    this.#isSettled = true
    this.#bodyTimer?.cancel()
    this.#bodies?.end()
    const { held, host } = this.#admitted
    if (this.#isEntered) held.counter.leave()
    const elapsedMs = host.clock.monotonicMs() - this.#startedMs
    this.#outcome.durationUs = Math.round(elapsedMs * 1_000)
    this.#session.settle(this.#id, this.#outcome)
  }
}
