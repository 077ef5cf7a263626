import { newOutcome, type Outcome } from '../../activity.ts'
import type { Clock } from '../../kit/clock.ts'
import { SallyportError } from '../../kit/errors.ts'
import type { Limits } from '../../kit/limits.ts'
import type { Session } from '../../session.ts'
import type { NameSlot, Portal, Statement } from './named.ts'
import { NameTable, noBytes } from './named.ts'
import { asked, QuestionRing } from './ring.ts'
import type { Source } from './sources.ts'
import { FunctionCallSource, QuerySource, redactedMark, StatementSource } from './sources.ts'
import { triggers } from './triggers.ts'

const portalsPooledMax = 16
/** A portal that grew beyond this is not kept for the next one. */
const pooledPortalBytesMax = 4096
const statementFixedBytes = 200

/** The part of a session that observing needs. */
export type AuditSink = Pick<Session, 'report' | 'settle' | 'spill'>

/**
 * What both directions of one connection know together: which questions are open, what names mean, and
 * the records made for them.
 */
export class Ledger {
  readonly sink: AuditSink
  readonly limits: Limits
  readonly #clock: Clock
  readonly ring: QuestionRing
  readonly statements = new NameTable<Statement>()
  readonly portals = new NameTable<Portal>()
  readonly querySource = new QuerySource('statement')
  readonly statementSource = new StatementSource('statement')
  readonly prepareSource = new StatementSource('prepare')
  readonly functionSource = new FunctionCallSource('functionCall')
  /** Records from which something was taken out, and that are not settled. */
  readonly #secretIds = new Set<number>()
  /** One outcome for all: filled, settled, filled again. */
  readonly outcome = newOutcome()
  /** The activity that `outcome` is about while its settling waits for the end of the transaction; else -1. */
  deferredId = -1
  /** Monotonic, taken once per chunk. */
  nowMs = 0
  /** Number of the current stretch between two Syncs, as the client counts. */
  stretch = 0
  /** The server failed and skips everything up to the next Sync, and the client has not sent one yet. */
  skipping = false
  /** The server reads copy data: whatever else the client sends, it swallows or refuses. */
  copyingIn = false
  /** Until the question before this position is answered, names of statements are in doubt. */
  namesChangeUntil = 0
  /** The same for names of portals. */
  #portalsChangeUntil = 0
  /** standard_conforming_strings is off. */
  plainBackslashes = false
  /** Bytes kept for prepared statements and portals. */
  #keptBytes = 0
  #keptPortals = 0
  readonly #freePortals: Portal[] = []
  /** Portals that the server confirmed in this transaction. */
  readonly #openPortals: Portal[] = []

  constructor(sink: AuditSink, limits: Limits, clock: Clock) {
    this.sink = sink
    this.limits = limits
    this.#clock = clock
    this.ring = new QuestionRing(limits.pipelineMax)
  }

  tick(): void {
    this.nowMs = this.#clock.monotonicMs()
  }

  set encoding(name: string) {
    this.querySource.encoding = name
    this.statementSource.encoding = name
    this.prepareSource.encoding = name
    this.functionSource.encoding = name
  }

  /** Kind of the question that the next answer belongs to; 0 if nothing was asked. */
  head(): number {
    const { ring } = this
    while (!ring.empty) {
      const kind = ring.kind(ring.head)
      if (kind !== asked.gone && kind !== asked.copyEnd) return kind
      ring.pop()
    }
    return 0
  }

  // Records and outcomes

  report(source: Source): number {
    source.secret = false
    const id = this.sink.report(source)
    if (source.secret) this.#secretIds.add(id)
    return id
  }

  settle(id: number, outcome: Outcome): void {
    // Errors quote what they do not like.
    if (this.#secretIds.size > 0 && this.#secretIds.delete(id) && outcome.errorText !== '') {
      outcome.errorText = redactedMark
    }
    this.sink.settle(id, outcome)
  }

  /** Settles as never run. */
  settleSkipped(id: number): void {
    this.flushDeferred()
    const { outcome } = this
    outcome.status = 'skipped'
    outcome.rows = -1
    outcome.bytesUp = outcome.bytesDown = outcome.durationUs = 0
    outcome.tag = outcome.errorCode = outcome.errorText = ''
    this.settle(id, outcome)
  }

  settleError(id: number, startedMs: number, bytesUp: number, code: string, text: string): void {
    this.flushDeferred()
    const { outcome } = this
    outcome.status = code === queryCancelled ? 'cancelled' : 'error'
    outcome.rows = -1
    outcome.bytesUp = bytesUp
    outcome.bytesDown = 0
    outcome.durationUs = this.elapsedUs(startedMs)
    outcome.tag = ''
    outcome.errorCode = code
    outcome.errorText = text
    this.settle(id, outcome)
  }

  flushDeferred(): void {
    if (this.deferredId < 0) return
    const id = this.deferredId
    this.deferredId = -1
    this.settle(id, this.outcome)
  }

  elapsedUs(startedMs: number): number {
    return Math.max(0, Math.round((this.nowMs - startedMs) * 1000))
  }

  /** The connection is over: what was not answered stays unknown. */
  finish(): void {
    this.tick()
    this.flushDeferred()
    const { ring, outcome } = this
    while (!ring.empty) {
      const kind = ring.kind(ring.head)
      if (kind === asked.query || kind === asked.execute || kind === asked.functionCall) {
        outcome.status = 'unknown'
        outcome.rows = -1
        outcome.bytesUp = ring.bytesUp(ring.head)
        outcome.bytesDown = 0
        outcome.durationUs = this.elapsedUs(ring.startedMs(ring.head))
        outcome.tag = outcome.errorCode = outcome.errorText = ''
        this.settle(ring.id(ring.head), outcome)
      }
      ring.pop()
    }
  }

  // Names

  /** The youngest question holds a text with these triggers. */
  namesMayChange(found: number): void {
    if ((found & triggers.names) !== 0) this.namesChangeUntil = this.ring.tail
    if ((found & triggers.portals) !== 0) this.#portalsChangeUntil = this.ring.tail
  }

  /** Only answers can say what the names of portals mean. */
  get portalsInDoubt(): boolean {
    return this.ring.head < this.#portalsChangeUntil
  }

  /** Counts a statement that is kept. Throws `limit-reached` above the limits: nothing goes unaudited. */
  keepStatement(statement: Statement): void {
    statement.holders = 1
    statement.keptBytes = statement.text.length + statement.name.length + statementFixedBytes
    this.#keep(statement.keptBytes)
    if (this.statements.size > this.limits.preparedMax) throw tooMany('prepared statements')
  }

  releaseStatement(statement: Statement | undefined): void {
    if (statement === undefined || --statement.holders > 0) return
    this.#keptBytes -= statement.keptBytes
  }

  /** The server named the types of a statement's parameters. */
  typeStatement(statement: Statement, types: Int32Array): void {
    statement.types = types
    statement.keptBytes += types.byteLength
    this.#keep(types.byteLength)
  }

  /** A definition or Close of this name was answered. */
  answeredStatement(slot: NameSlot<Statement>): void {
    slot.unanswered--
    if (slot.unanswered > 0 || slot.confirmed !== undefined) return
    this.releaseStatement(slot.latest)
    slot.latest = undefined
    this.statements.tidy(slot)
  }

  answeredPortal(slot: NameSlot<Portal>): void {
    slot.unanswered--
    if (slot.unanswered > 0 || slot.confirmed !== undefined) return
    this.releasePortal(slot.latest)
    slot.latest = undefined
    this.portals.tidy(slot)
  }

  /** A portal with room for `length` bytes of parameters, held once. */
  takePortal(length: number): Portal {
    const portal: Portal = this.#freePortals.pop() ?? {
      slot: this.portals.unnamed,
      statement: undefined,
      statementName: noBytes,
      bytes: noBytes,
      length: 0,
      blob: undefined,
      holders: 0,
    }
    if (portal.bytes.length < length) {
      portal.bytes = Buffer.allocUnsafeSlow(Math.max(length, 128))
    }
    portal.length = length
    portal.blob = undefined
    portal.holders = 1
    this.#keptPortals++
    this.#keep(portal.bytes.length)
    if (this.#keptPortals > this.limits.preparedMax + this.limits.pipelineMax) {
      throw tooMany('portals')
    }
    return portal
  }

  releasePortal(portal: Portal | undefined): void {
    if (portal === undefined || --portal.holders > 0) return
    this.#keptPortals--
    this.#keptBytes -= portal.bytes.length
    this.releaseStatement(portal.statement)
    portal.statement = undefined
    if (
      this.#freePortals.length < portalsPooledMax &&
      portal.bytes.length <= pooledPortalBytesMax
    ) {
      this.#freePortals.push(portal)
    }
  }

  #keep(bytes: number): void {
    this.#keptBytes += bytes
    if (this.#keptBytes > this.limits.preparedBytesMax) {
      throw tooMany('bytes of prepared statements and their parameters')
    }
  }

  /** ParseComplete: the name means this now. */
  confirmStatement(statement: Statement): void {
    const { slot } = statement
    statement.holders++
    this.releaseStatement(slot.confirmed)
    slot.confirmed = statement
  }

  /** The name of a statement means nothing any more. */
  closeStatement(slot: NameSlot<Statement>): void {
    this.releaseStatement(slot.confirmed)
    slot.confirmed = undefined
    if (slot.unanswered > 0) return
    this.releaseStatement(slot.latest)
    slot.latest = undefined
    this.statements.tidy(slot)
  }

  /** BindComplete: the name means this now. */
  confirmPortal(portal: Portal): void {
    const { slot } = portal
    portal.holders++
    const before = slot.confirmed
    slot.confirmed = portal
    if (before !== undefined) {
      this.#notOpen(before)
      this.releasePortal(before)
    }
    this.#openPortals.push(portal)
    if (this.portals.size > this.limits.preparedMax) throw tooMany('portals')
  }

  /** The server says that this portal is no more. */
  closePortal(portal: Portal | undefined): void {
    if (portal === undefined) return
    this.#notOpen(portal)
    this.#dropPortal(portal)
  }

  #notOpen(portal: Portal): void {
    const at = this.#openPortals.lastIndexOf(portal)
    if (at >= 0) this.#openPortals.splice(at, 1)
  }

  /** The end of a transaction closes its portals. */
  closeAllPortals(): void {
    for (let portal = this.#openPortals.pop(); portal !== undefined;) {
      this.#dropPortal(portal)
      portal = this.#openPortals.pop()
    }
  }

  #dropPortal(portal: Portal): void {
    const { slot } = portal
    slot.confirmed = undefined
    if (slot.unanswered === 0) {
      this.releasePortal(slot.latest)
      slot.latest = undefined
      this.portals.tidy(slot)
    }
    this.releasePortal(portal)
  }

  /** Statements by name mean nothing any more (DEALLOCATE ALL, DISCARD ALL). */
  forgetStatements(): void {
    this.statements.forEach((slot) => {
      if (slot !== this.statements.unnamed) this.closeStatement(slot)
    })
  }
}

/** SQLSTATE query_canceled. */
const queryCancelled = '57014'

function tooMany(what: string): SallyportError {
  return new SallyportError('frame-too-large', `session keeps too many ${what}`, {
    clientMessage: `too many ${what} in one session`,
    hint: 'Close what you no longer need (DEALLOCATE, Close), or connect again.',
  })
}
