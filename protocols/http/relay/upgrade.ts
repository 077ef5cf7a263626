/** The opening of a WebSocket: recorded as a request, then handed over. */
import { newOutcome } from '../../activity.ts'
import { toSallyportError, type SallyportError } from '../../kit/errors.ts'
import type { ActivityId, Cut } from '../../session.ts'
import { answerRefusal } from '../downstream/answer.ts'
import type { Leaseholder } from '../downstream/held-lease.ts'
import { cutStatus, refusalWords } from '../downstream/refusal-words.ts'
import { noteGone } from '../observe.ts'
import { redactQuery } from '../observe/redact-query.ts'
import type { AppCall, AppRequest, AppUpgrade, RawHeaders } from '../upstream/app.ts'
import { badAnswer } from '../upstream/failures.ts'
import { without } from '../upstream/raw-headers.ts'
import { fieldValue, fieldValues, lowerNames } from '../wire/fields.ts'
import type { OpenWebSocket } from '../wire/http1.ts'
import { HttpRefusal, malformed, statusOf } from '../wire/refusal.ts'
import { webSocketAccept } from '../wire/web-socket-accept.ts'
import { appOf, appRequestOf, logFailure, reportRequest, type Admitted } from './admitted.ts'
import { checkTerms } from './check-terms.ts'
import { answerHeaders, faultOfHead, isTooLarge, responseHeaders } from './response-headers.ts'
import { tellCut } from './tell-cut.ts'
import { relayWebSocket } from './web-socket.ts'

/** Fields of the app's answer that belong to its own handshake. */
const ofHandshake = new Set(['sec-websocket-accept', 'content-length', 'date', 'server'])

/** Opens a WebSocket at the app for a client that asks for one. Never throws: what goes wrong is answered. */
export function relayUpgrade(admitted: Admitted, open: OpenWebSocket): void {
  const { exchange, asked, held, host } = admitted
  const { session } = held
  const terms = session.http!
  const startedMs = host.clock.monotonicMs()
  const outcome = newOutcome()
  const detach = session.attach(exchange.downstream)
  let call: AppCall | undefined
  let isSettled = false
  let isEntered = false
  let isHandedOver = false
  let id: ActivityId = 0

  const settle = (): void => {
    if (isSettled) return
    isSettled = true
    outcome.durationUs = Math.round((host.clock.monotonicMs() - startedMs) * 1_000)
    session.settle(id, outcome)
  }
  const leave = (): void => {
    if (isEntered) held.counter.leave()
    isEntered = false
    held.leave(place)
  }
  const refuse = (error: SallyportError): void => {
    if (isSettled) return
    host.refused(error.code)
    Object.assign(outcome, { status: 'error', errorCode: error.code, tag: String(statusOf(error)) })
    outcome.errorText = error.clientMessage
    settle()
    call?.abort()
    if (exchange.hasBegun) exchange.abandon()
    else answerRefusal(exchange, error, { ...refusalWords(error, asked, exchange), isLast: true })
  }
  const holder: Leaseholder = {
    cut(cut: Cut) {
      // After the switch the WebSocket says goodbye itself.
      if (isHandedOver) return
      outcome.status = 'cancelled'
      if (!exchange.hasBegun) outcome.tag = cutStatus
      settle()
      call?.abort()
      if (exchange.hasBegun) exchange.abandon()
      else tellCut(admitted, cut, detach)
    },
  }
  const place = held.enter(holder)
  exchange.onClose(() => {
    if (isHandedOver) return
    if (!isSettled) noteGone(outcome, exchange)
    settle()
    call?.abort()
    detach()
    leave()
  })

  /** Nothing more of the app's passes: it is settled, or about to be told of its cut. */
  const isOver = (): boolean => isSettled || session.isCut
  const answer: AppUpgrade = {
    head(status, _statusText, headers) {
      if (isOver()) return
      const fault = faultOfHead(status, headers)
      if (fault !== undefined) {
        refuse(badAnswer(fault))
        return
      }
      outcome.tag = String(status)
      if (status >= 400) outcome.status = 'error'
      exchange.head(status, answerHeaders(status, headers), { last: true })
    },
    data(chunk) {
      if (isOver() || outcome.tag === '205') return true
      outcome.bytesDown += chunk.length
      session.countDownstream(chunk.length)
      // A refusal is short, and its client is here for it alone.
      exchange.write(chunk)
      return true
    },
    end() {
      if (isOver()) return
      settle()
      exchange.end()
    },
    failed(error) {
      if (isOver()) return
      logFailure(admitted, error)
      refuse(error)
    },
    switched(headers, app, appHead) {
      if (isOver()) {
        app.destroy()
        return
      }
      if (isTooLarge(headers)) {
        app.destroy()
        refuse(badAnswer('too many fields, or too large ones'))
        return
      }
      outcome.tag = '101'
      settle()
      isHandedOver = true
      detach()
      const fields = handshakeFields(headers)
      fields.push(
        'sec-websocket-accept',
        webSocketAccept(fieldValue(exchange.headers, 'sec-websocket-key')!),
      )
      const { stream, head } = open(fields)
      const extensions = fieldValue(lowerNames(headers), 'sec-websocket-extensions') ?? ''
      const target = redactQuery(exchange.target, terms.redactedParameters)
      void relayWebSocket({
        ...{ session, held, host, exchange, request: id, target, extensions },
        ...{ client: stream, clientHead: head, app, appHead },
      }).then(leave)
    },
  }

  let request: AppRequest
  try {
    id = reportRequest(admitted, terms, host)
    // Its holders will be told, this turn or the next, and answer then.
    if (session.isCut) return
    checkWebSocket(exchange.headers, asked.authority)
    checkTerms(admitted, terms)
    held.counter.enter()
    isEntered = true
    request = appRequestOf(admitted, terms)
  } catch (error) {
    refuse(toSallyportError(error))
    return
  }
  session.forwardCall(() => {
    if (!isSettled) call = appOf(session, host).upgrade(request, answer)
  })
}

/** RFC 6455, 4.2.1; and who opens it from a page must be a page of this host, since no cookie says so (10.2). */
function checkWebSocket(headers: RawHeaders, authority: string): void {
  const keys = fieldValues(headers, 'sec-websocket-key')
  if (keys.length !== 1 || !/^[A-Za-z0-9+/]{22}==$/.test(keys[0]!)) {
    throw malformed('Sec-WebSocket-Key must be 16 bytes')
  }
  if (fieldValue(headers, 'sec-websocket-version') !== '13') {
    throw new HttpRefusal(426, 'unsupported-feature', 'only version 13 of WebSockets is spoken', {
      isLast: true,
    })
  }
  const origin = fieldValue(headers, 'origin')
  if (origin !== undefined && !isOwnOrigin(origin, authority)) {
    throw new HttpRefusal(403, 'not-allowed', 'a page of another site may not open this WebSocket')
  }
}

function isOwnOrigin(origin: string, authority: string): boolean {
  return origin.toLowerCase() === `https://${authority.replace(/:443$/, '')}`
}

function handshakeFields(headers: RawHeaders): string[] {
  return without(responseHeaders(headers), ofHandshake)
}
