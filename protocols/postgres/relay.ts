/** What happens between the login and the end: bytes both ways, observed, bounded, and cut when told so. */
import type { Socket } from 'node:net'
import type { Host } from '../engine.ts'
import { SallyportError, toSallyportError } from '../kit/errors.ts'
import type { Limits } from '../kit/limits.ts'
import type { Relay, RelayEnd } from '../kit/relay.ts'
import { relay, valveReasons } from '../kit/relay.ts'
import type { Cut, Session } from '../session.ts'
import type { Observer } from './observe.ts'
import { observe } from './observe.ts'
import type { LoggedIn } from './upstream.ts'
import type { LengthTable } from './wire.ts'
import { backendLengths, flushMessage, frontend, frontendLengths } from './wire.ts'
import { errorResponse, fatalResponse, noticeResponse } from './wire/error-response.ts'
import { FrameScanner } from './wire/frames.ts'

/** A server's message that is held until it is whole, so that a farewell can be said in front of the next. */
const heldAnswerBytesMax = 16 * 1024
/** Warnings that wait for the end of a long message. */
const noticesWaitingMax = 16

export interface Conversation {
  /** Shows the client a line, as soon as a message has ended. */
  notify(line: string): void
  /** Starts passing bytes. Resolves with how it ended; a cut ends it with the `Cut` as error. */
  run(): Promise<RelayEnd>
  /**
   * Says goodbye to the client, if it is between two messages, and closes its side. What the server still answers is
   * observed, and goes nowhere.
   */
  farewell(end: RelayEnd): void
  readonly observer: Observer
}

/** Prepares to relay a session whose login is done. Nothing flows before `run`. */
export function converse(
  session: Session,
  downstream: Socket,
  upstream: LoggedIn,
  host: Host,
): Conversation {
  const { limits } = host
  const observer = observe(session, limits, host.clock)
  for (const [name, value] of upstream.parameters) observer.parameter(name, value)
  let running: Relay | undefined
  let silent = false
  /** Pieces that went upstream. */
  let passed = 0
  const notices: Buffer[] = []
  const waiting: Buffer[] = []

  const send = (piece: Buffer): void => {
    session.countDownstream(piece.length)
    downstream.write(piece)
  }
  const requests = new FrameScanner({
    lengths: lengthsOf(limits).client,
    heldBytesMax: limits.messageInMemoryBytesMax,
    streamedTypes: [frontend.copyData],
    who: 'client',
    visitor: observer.requests,
    emit(piece) {
      passed++
      if (!session.forward(upstream.socket, piece)) running?.client.hold(valveReasons.forwarding)
    },
  })
  const answers = new FrameScanner({
    lengths: lengthsOf(limits).resource,
    heldBytesMax: heldAnswerBytesMax,
    streamedTypes: [],
    who: 'resource',
    visitor: observer.answers,
    emit(piece) {
      if (!silent) send(piece)
    },
  })
  /** The next message means what only an answer can say; the server keeps answers back until told to flush. */
  const wait = (): void => {
    running?.client.hold(valveReasons.undecided)
    session.forward(upstream.socket, flushMessage)
  }
  const scanClient = (chunk: Buffer): void => {
    requests.push(chunk)
    if (requests.stalled) wait()
  }
  const resume = (): void => {
    const before = passed
    if (!requests.resume()) {
      if (passed > before) wait()
      return
    }
    while (waiting.length > 0) {
      scanClient(waiting.shift()!)
      if (requests.stalled) return
    }
    running?.client.release(valveReasons.undecided)
  }

  return {
    observer,
    notify(line) {
      if (silent || notices.length >= noticesWaitingMax) return
      const notice = noticeResponse(line)
      if (answers.atBoundary) send(notice)
      else notices.push(notice)
    },
    async run() {
      const started = relay(downstream, upstream.socket, {
        fromClient(chunk) {
          observer.tick()
          if (requests.stalled) waiting.push(chunk)
          else scanClient(chunk)
        },
        fromResource(chunk) {
          observer.tick()
          answers.push(chunk)
          if (requests.stalled && !silent) resume()
          if (notices.length > 0 && answers.atBoundary && !silent) {
            for (const notice of notices.splice(0)) send(notice)
          }
        },
      })
      running = started
      session.onDrain(() => started.client.release(valveReasons.forwarding))
      const onCut = (): void => started.stop(session.signal.reason)
      session.signal.addEventListener('abort', onCut, { once: true })
      if (session.signal.aborted) onCut()
      try {
        return await started.ended
      } finally {
        session.signal.removeEventListener('abort', onCut)
      }
    },
    farewell(end) {
      silent = true
      const goodbye = session.signal.aborted
        ? cutResponse(session.signal.reason as Cut)
        : goodbyeFor(end, observer.fatalSeen)
      if (end.side === 'client') {
        downstream.destroy()
      } else if (!answers.atBoundary) {
        // In the middle of a long message nothing can be said.
        downstream.destroy()
      } else {
        if (goodbye !== undefined) send(goodbye)
        downstream.end()
      }
      // What it still sends is read and dropped: unread bytes would turn our close into a reset.
      downstream.resume()
      // The server's last answers belong to the audit, but nobody waits for them.
      running?.resource.release(valveReasons.other)
    },
  }
}

function goodbyeFor(end: RelayEnd, fatalSeen: boolean): Buffer | undefined {
  if (end.side === 'proxy') return fatalResponse(toSallyportError(end.error))
  if (end.side === 'client' || fatalSeen) return undefined
  return fatalResponse(
    new SallyportError('upstream-unreachable', 'the resource closed the connection', {
      clientMessage: 'the resource closed the connection unexpectedly',
      hint: 'Connect again; if it happens again, tell the operator.',
    }),
  )
}

/** SQLSTATE admin_shutdown, as a server says that ends a session for its own reasons. */
function cutResponse(cut: Cut): Buffer {
  return errorResponse({ severity: 'FATAL', code: '57P01', message: cut.message, hint: cut.hint })
}

const tables = new WeakMap<Limits, { client: LengthTable; resource: LengthTable }>()

/** The tables are the same for every connection under the same limits. */
function lengthsOf(limits: Limits): { client: LengthTable; resource: LengthTable } {
  let found = tables.get(limits)
  if (found === undefined) {
    found = { client: frontendLengths(limits), resource: backendLengths(limits) }
    tables.set(limits, found)
  }
  return found
}
