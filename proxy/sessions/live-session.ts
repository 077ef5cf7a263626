/**
 * The one implementation of `Session`. Made by the gate, known to the registry, ended by a cut or by its engine.
 *
 * A cut has two halves, so that many sessions can be cut in one loop: `beginCut` stops forwarding and writes the
 * record; `announceCut` lets the engine say goodbye. Nothing goes upstream after the first half.
 */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { GrantClaims } from '../../control/api/tokens.ts'
import type { Resource } from '../../control/api/resource.ts'
import type { ActivitySource, Outcome } from '../../protocols/activity.ts'
import type { Timer } from '../../protocols/kit/clock.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import type {
  ActivityId,
  BlobWriter,
  Credential,
  CutReason,
  Downstream,
  EndReason,
  HttpTerms,
  Recording,
  Session,
  SessionLabels,
  SshTerms,
  Upstream,
} from '../../protocols/session.ts'
import type { Forwarder } from '../audit/spool-types.ts'
import type { EvidenceFacts } from '../grants/control-view.ts'
import type { Binding } from '../policy/bind-secret.ts'
import { createCredentials, type Credentials } from './credentials.ts'
import { cutError, cutOf } from './cut-words.ts'
import type { Dial } from './dial.ts'
import { createKept } from './kept.ts'
import type { CutOrder, SessionFacts, SessionTools } from './session-parts.ts'
import { createSessionAudit, type SessionAudit } from './session-audit.ts'
import { createSessionCancels, type SessionCancels } from './session-cancels.ts'
import type { SessionSockets } from './session-sockets.ts'
import { createSessionTime, type SessionTime } from './session-time.ts'
import { socketsOfSession } from './sockets-of-session.ts'
import { termsOf } from './terms.ts'

const detailCharactersMax = 1_000

export class LiveSession implements Session {
  readonly labels: SessionLabels
  readonly binding: Binding
  readonly upstream: Upstream
  readonly ssh?: SshTerms
  readonly http?: HttpTerms
  readonly assertion: () => string
  readonly identity: EvidenceFacts
  readonly confirmedPosition: number
  readonly #tools: SessionTools
  readonly #forwarder: Forwarder
  readonly #recordings: ReturnType<SessionTools['createRecordings']>
  readonly #time: SessionTime
  readonly #controller = new AbortController()
  readonly #sockets: SessionSockets
  readonly #credentials: Credentials
  readonly #audit: SessionAudit
  #notify: ((line: string) => void) | undefined
  #onDrain: ((target: Writable | undefined) => void) | undefined
  readonly #cancels: SessionCancels
  readonly #kept = createKept()
  #cut:
    | { order: CutOrder; beganMs: number; atMonotonicMs: number; forwardedBytes: number }
    | undefined
  #isEnded = false
  /** The engine is done with it. */
  #released = Promise.withResolvers<void>()
  #end: { reason: EndReason; error?: Error } | undefined
  #farewell: Timer | undefined
  #farewellOver = Promise.withResolvers<void>()
  #closing: Promise<void> | undefined
  #lastByteMs: number
  /** Something waited in a socket after the cut, so the last byte may have passed as late as the close. */
  #queuedAfterCut = false
  #bytesDown = 0

  constructor(facts: SessionFacts, tools: SessionTools, dial: Dial) {
    this.labels = facts.labels
    this.binding = facts.binding
    this.upstream = facts.binding.upstream
    this.identity = facts.identity
    this.confirmedPosition = facts.confirmedPosition
    this.#tools = tools
    this.#audit = createSessionAudit({ ...tools, labels: facts.labels })
    Object.assign(this, termsOf(facts.resource, facts.labels.level))
    this.#sockets = socketsOfSession(facts, tools, dial)
    this.#cancels = createSessionCancels(tools, () => this.isLive)
    this.#credentials = createCredentials({
      ...{ sessionId: this.labels.sessionId, grantId: this.labels.grantId },
      ...{ binding: facts.binding, stores: tools.stores },
      ...{ certifySession: tools.certifySession, signal: this.signal },
      ...{ clock: tools.clock, throwIfCut: () => this.throwIfCut() },
    })
    this.assertion = tools.createAssertion(facts.labels, () => this.throwIfCut())
    this.#lastByteMs = tools.clock.monotonicMs()
    this.#forwarder = tools.createForwarder(
      (drained) => this.#onDrain?.(drained),
      (error) => this.#failed(error),
    )
    this.#recordings = tools.createRecordings(() => this.#onDrain?.(undefined))
    this.#time = createSessionTime(facts, tools, {
      lastTrafficMs: () => this.#lastByteMs,
      cut: (...order) => this.#requestCut(...order),
      notify: (line) => this.notify(line),
    })
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get claims(): GrantClaims {
    return this.#time.claims
  }

  get resource(): Resource {
    return this.#time.resource
  }

  /** Neither cut nor closing. */
  get isLive(): boolean {
    return this.#cut === undefined && this.#closing === undefined
  }

  get isCut(): boolean {
    return this.#cut !== undefined
  }

  get isOver(): boolean {
    return this.#closing !== undefined && this.#cut === undefined
  }

  get expiresAtMs(): number {
    return this.claims.expiresAtMs
  }

  get warning(): string | undefined {
    return this.#time.warning
  }

  get cutReason(): CutReason | undefined {
    return this.#cut?.order.reason
  }

  #wallMs(): number {
    return this.#tools.clock.wallMs()
  }

  #requestCut(
    reason: CutReason,
    detail: string,
    orderedAtMs = this.#wallMs(),
    words?: CutOrder['words'],
  ): void {
    const order = { reason, detail, orderedAtMs }
    this.#tools.requestCut(this, words === undefined ? order : { ...order, words })
  }

  /** As `SessionTime` has them. */
  arm(): void {
    this.#time.arm()
  }

  regrant(claims: GrantClaims): void {
    this.#time.regrant(claims)
  }

  reconfigure(resource: Resource): void {
    this.#time.reconfigure(resource)
  }

  clockJumped(): void {
    this.#time.clockJumped()
  }

  /** `session.opened` was appended. */
  recorded(): void {
    this.#audit.opened()
  }

  notify(line: string): void {
    if (!this.isLive) return
    try {
      this.#notify?.(line)
    } catch (error) {
      this.#tools.log.warn({ ...this.labels, error: String(error) }, 'a warning was not shown')
    }
  }

  /** Throws what the cut means to somebody who is not in yet. */
  throwIfCut(): void {
    if (!this.isLive) throw cutError(this.#cut?.order, this.labels)
  }

  connect(): Promise<Socket> {
    const cut = this.#cut
    // After a cut only a cancel is dialled, for as long as a dial may take: without it a statement would run on for
    // nobody. The session's own sockets are gone long before.
    const mayCancel =
      cut !== undefined &&
      this.#sockets.hasCancels &&
      !this.#isEnded &&
      this.#tools.clock.monotonicMs() - cut.beganMs <= this.#tools.limits.upstreamConnectMs
    if (cut === undefined ? this.#closing !== undefined : !mayCancel) {
      return Promise.reject(cutError(cut?.order, this.labels))
    }
    return this.#sockets.connect()
  }

  borrow(of?: 'resource' | 'bastion'): Promise<Credential> {
    return this.#credentials.borrow(of)
  }

  certify(publicKey: Buffer, of?: 'resource' | 'bastion'): ReturnType<Session['certify']> {
    return this.#credentials.certify(publicKey, of)
  }

  attach(downstream: Downstream): () => void {
    return this.#sockets.attach(downstream)
  }

  record(...what: Parameters<Session['record']>): Recording {
    return this.#recordings.start(...what)
  }

  opened(notify: (line: string) => void): void {
    this.throwIfCut()
    this.#notify = notify
    this.#lastByteMs = this.#tools.clock.monotonicMs()
    this.#time.opened()
    this.#tools.onOpened(this)
  }

  report(activity: ActivitySource): ActivityId {
    return this.#audit.report(activity)
  }

  settle(id: ActivityId, outcome: Outcome): void {
    this.#audit.settle(id, outcome)
  }

  forward(target: Writable, chunk: Buffer): boolean {
    if (this.#cut === undefined) this.#lastByteMs = this.#tools.clock.monotonicMs()
    return this.#forwarder.forward(target, chunk)
  }

  forwardCall(run: () => void): boolean {
    if (this.#cut === undefined) this.#lastByteMs = this.#tools.clock.monotonicMs()
    return this.#forwarder.forwardCall(run)
  }

  onDrain(listener: (target: Writable | undefined) => void): void {
    this.#onDrain = listener
  }

  keep<T extends Disposable>(key: symbol, make: () => T, by?: 'session' | 'person'): T {
    this.throwIfCut()
    return by === 'person' ? this.#tools.keepForPerson(this, key, make) : this.#kept.keep(key, make)
  }

  countDownstream(bytes: number): void {
    this.#bytesDown += bytes
    this.#lastByteMs = this.#tools.clock.monotonicMs()
    if (this.#cut !== undefined) this.#queuedAfterCut ||= this.#sockets.isDownstreamQueued
  }

  spill(): BlobWriter {
    return this.#audit.spill()
  }

  onCancel(cancel: () => void): Buffer {
    return this.#cancels.keep(cancel)
  }

  violated({ message, clientMessage, hint = '' }: SallyportError): void {
    const words = { message: clientMessage, hint }
    this.#requestCut('protocol-violation', message.slice(0, detailCharactersMax), undefined, words)
  }

  end(reason: EndReason, error?: Error): void {
    this.#end ??= error === undefined ? { reason } : { reason, error }
  }

  /** A call that was handed on threw: the session's, and nobody else's. */
  #failed(thrown: unknown): void {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    this.#tools.log.error({ ...this.labels, error: error.stack }, 'a call upstream failed')
    this.end('upstream-failed', error)
    this.#closeInBackground()
  }

  /** First half of a cut. False if the session is cut or closing already. */
  beginCut(order: CutOrder): boolean {
    if (!this.isLive) return false
    const pendingBytes = this.#forwarder.pendingBytes
    // What streams and sockets still hold, beyond what is dropped here, would pass after the cut.
    const isHeld = this.#forwarder.stop() < pendingBytes || this.#sockets.mayHoldUpstream
    if (isHeld) this.#sockets.destroyWork()
    const { clock } = this.#tools
    const nowMs = clock.monotonicMs()
    this.#cut = {
      order,
      beganMs: nowMs,
      // An expiry was ordered when the grant ended, however late its timer ran.
      atMonotonicMs:
        order.reason === 'grant-expired' ? Math.min(nowMs, this.#time.endMonotonicMs) : nowMs,
      forwardedBytes: this.#forwarder.forwardedBytes,
    }
    this.#sockets.beginCancels()
    this.#queuedAfterCut = this.#sockets.isDownstreamQueued
    this.#time.stop()
    this.#audit.cut(order)
    this.#startFarewell()
    return true
  }

  /** Second half: the engine says goodbye. */
  announceCut(): void {
    if (this.#cut !== undefined) this.#controller.abort(cutOf(this.#cut.order, this.labels))
  }

  #startFarewell(): void {
    const { clock, limits } = this.#tools
    this.#farewell ??= clock.startTimer(limits.farewellMs, () => {
      this.#farewellOver.resolve()
      this.#closeInBackground()
    })
  }

  #closeInBackground(): void {
    this.#close().catch((error: unknown) =>
      this.#tools.log.error({ ...this.labels, error: String(error) }, 'a session closed badly'),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#released.resolve()
    return this.#close()
  }

  #close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    return this.#closing
  }

  async #closeOnce(): Promise<void> {
    const { clock, log } = this.#tools
    this.#time.stop()
    this.#forwarder.stop()
    this.#cancels.forget()
    const cut = this.#cut
    this.#startFarewell()
    await Promise.race([this.#sockets.settle(), this.#farewellOver.promise])
    this.#farewell?.cancel()
    this.#sockets.destroyAll()
    this.#kept.dispose()
    this.#credentials.drop()

    const closedMs = clock.monotonicMs()
    const reason = cut?.order.reason ?? this.#end?.reason ?? 'client-closed'
    const lastByteMs = this.#queuedAfterCut ? closedMs : this.#lastByteMs
    if (cut !== undefined && this.#forwarder.forwardedBytes !== cut.forwardedBytes) {
      log.error({ ...this.labels }, 'bytes went upstream after a cut')
    }
    const end = {
      reason,
      error: this.#end?.error,
      cut: cut && { reason: cut.order.reason, orderedAtMs: cut.order.orderedAtMs },
      lastByteMs,
      closedMs,
      closedAtMs: clock.wallMs(),
      bytesUp: this.#forwarder.forwardedBytes,
      bytesDown: this.#bytesDown,
    }
    await this.#audit.closed(end, () => this.#recordings.endAll())
    await this.#finishCancels()
    const cutMs = cut && Math.max(0, lastByteMs - cut.atMonotonicMs)
    this.#tools.onClosed(this, reason, cutMs)
  }

  /** The engine cancels what runs at the resource until it lets go of the session, or until its time is over. */
  async #finishCancels(): Promise<void> {
    if (this.#cut !== undefined) {
      const { clock, limits } = this.#tools
      const leftMs = this.#cut.beganMs + limits.upstreamConnectMs - clock.monotonicMs()
      const timer = clock.startTimer(leftMs, () => this.#released.resolve())
      await this.#released.promise
      timer.cancel()
    }
    this.#isEnded = true
    this.#sockets.destroyCancels()
  }
}
