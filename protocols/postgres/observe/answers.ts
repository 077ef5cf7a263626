import { SallyportError } from '../../kit/errors.ts'
import { backend } from '../wire.ts'
import { readErrorResponse } from '../wire/error-response.ts'
import type { Ledger } from './ledger.ts'
import { asked } from './ring.ts'
import { TagCache, tagEffects } from './tags.ts'

const bodyAt = 5
/** What is kept of an error too long to be held. */
const capturedBytesMax = 8 * 1024
const idle = 0x49 // I

/**
 * Follows what the server answers: finds the question that each answer belongs to, and settles its record
 * once. Replays what names mean as the server says it.
 *
 * An answer to nothing that was asked means that the two sides lost step: `protocol-violation`, because
 * nobody could say any more which statement did what.
 */
export class Answers {
  readonly #ledger: Ledger
  readonly #tags = new TagCache()
  /** Told of each ParameterStatus. */
  readonly #parameter: (name: string, value: string) => void
  /** Of the question at the head. */
  #rows = 0
  #bytesDown = 0
  #taggedRows = -1
  #tag = ''
  #errorCode = ''
  #errorText = ''
  #deallocated = false
  #cursorClosed = false
  #captured: Buffer | undefined
  #capturedLength = 0

  constructor(ledger: Ledger, parameter: (name: string, value: string) => void) {
    this.#ledger = ledger
    this.#parameter = parameter
  }

  whole(buffer: Buffer, start: number, end: number): boolean {
    switch (buffer[start]) {
      case backend.dataRow:
        this.#rows++
        this.#bytesDown += end - start - bodyAt
        break
      case backend.copyData:
        this.#bytesDown += end - start - bodyAt
        break
      case backend.readyForQuery:
        this.#ready(buffer[start + bodyAt]!)
        break
      case backend.commandComplete:
        this.#complete(buffer, start + bodyAt, end - 1)
        break
      case backend.bindComplete:
        this.#bound()
        break
      case backend.parseComplete:
        this.#parsed()
        break
      case backend.rowDescription:
      case backend.noData:
        if (this.#head() === asked.describe) this.#pop()
        break
      case backend.parameterDescription:
        this.#described(buffer, start + bodyAt, end)
        break
      case backend.closeComplete:
        this.#closed()
        break
      case backend.portalSuspended:
        this.#finishExecute('', this.#rows, 'PortalSuspended')
        break
      case backend.emptyQuery:
        if (this.#head() !== asked.query) this.#finishExecute('', -1, 'EmptyQueryResponse')
        break
      case backend.error:
        this.#error(buffer.subarray(start + bodyAt, end))
        break
      case backend.copyInResponse:
        this.#copyIn()
        break
      case backend.parameterStatus:
        this.#parameterStatus(buffer, start + bodyAt, end)
        break
      case backend.copyBothResponse:
        throw new SallyportError('unsupported-feature', 'the server started a replication copy', {
          clientMessage: 'replication is not possible through this proxy',
          hint: 'Connect without the replication parameter.',
        })
      case backend.functionResult:
        this.#tag = 'FunctionCall'
        this.#bytesDown += end - start - bodyAt
        break
      case backend.authentication:
      case backend.backendKey:
      case backend.negotiateVersion:
        throw outOfStep('a message of the login')
      default:
        // Notices, notifications and what goes around a COPY answer nothing.
        break
    }
    return true
  }

  begin(type: number, bodyBytes: number): boolean {
    if (type === backend.dataRow) this.#rows++
    if (type === backend.dataRow || type === backend.copyData) this.#bytesDown += bodyBytes
    this.#capturedLength = 0
    this.#captured =
      type === backend.error ? Buffer.allocUnsafe(Math.min(bodyBytes, capturedBytesMax)) : undefined
    if (type === backend.rowDescription && this.#head() === asked.describe) this.#pop()
    return true
  }

  part(buffer: Buffer, start: number, end: number, last: boolean): void {
    if (this.#captured === undefined) return
    const room = this.#captured.length - this.#capturedLength
    const taken = Math.min(room, end - start)
    buffer.copy(this.#captured, this.#capturedLength, start, start + taken)
    this.#capturedLength += taken
    if (!last) return
    const body = this.#captured
    this.#captured = undefined
    this.#error(body)
  }

  /** Kind of the question that the next answer belongs to; 0 if nothing was asked. */
  #head(): number {
    const { ring } = this.#ledger
    while (!ring.empty) {
      const kind = ring.kind(ring.head)
      if (kind !== asked.gone && kind !== asked.copyEnd) return kind
      ring.pop()
    }
    return 0
  }

  #pop(): void {
    this.#ledger.ring.pop()
    this.#rows = this.#bytesDown = 0
    this.#taggedRows = -1
    this.#tag = this.#errorCode = this.#errorText = ''
    if (this.#ledger.ring.empty) this.#ledger.flushDeferred()
  }

  #parsed(): void {
    if (this.#head() !== asked.parse) throw outOfStep('ParseComplete')
    const ledger = this.#ledger
    const statement = ledger.ring.statement(ledger.ring.head)!
    ledger.confirmStatement(statement)
    ledger.answeredStatement(statement.slot)
    ledger.releaseStatement(statement)
    this.#pop()
  }

  #bound(): void {
    if (this.#head() !== asked.bind) throw outOfStep('BindComplete')
    const ledger = this.#ledger
    const portal = ledger.ring.portal(ledger.ring.head)!
    ledger.confirmPortal(portal)
    ledger.answeredPortal(portal.slot)
    ledger.releasePortal(portal)
    this.#pop()
  }

  #closed(): void {
    const ledger = this.#ledger
    const kind = this.#head()
    if (kind === asked.closeStatement) {
      const slot = ledger.ring.statementSlot(ledger.ring.head)
      if (slot !== undefined) {
        ledger.closeStatement(slot)
        ledger.answeredStatement(slot)
      }
    } else if (kind === asked.closePortal) {
      const slot = ledger.ring.portalSlot(ledger.ring.head)
      if (slot !== undefined) {
        ledger.closePortal(slot.confirmed)
        ledger.answeredPortal(slot)
      }
    } else {
      throw outOfStep('CloseComplete')
    }
    this.#pop()
  }

  #described(buffer: Buffer, at: number, end: number): void {
    if (this.#head() !== asked.describe) throw outOfStep('ParameterDescription')
    const ledger = this.#ledger
    const statement = ledger.ring.statement(ledger.ring.head)
    if (statement === undefined || end - at < 2) return
    const count = buffer.readUInt16BE(at)
    if (count === 0 || at + 2 + 4 * count !== end) return
    if (statement.types.length === count && !statement.types.includes(0)) return
    const types = new Int32Array(count)
    for (let index = 0; index < count; index++) {
      types[index] = buffer.readInt32BE(at + 2 + 4 * index)
    }
    ledger.typeStatement(statement, types)
  }

  #complete(buffer: Buffer, start: number, end: number): void {
    const { tag, rows, effect } = this.#tags.read(buffer, start, end)
    if (effect !== tagEffects.none) this.#effect(effect)
    if (this.#head() === asked.query) {
      this.#tag = tag
      if (rows >= 0) this.#taggedRows = Math.max(0, this.#taggedRows) + rows
      return
    }
    this.#finishExecute(tag, rows, 'CommandComplete')
  }

  /** An Execute is done. Its outcome waits for the Sync after it, where a commit may still fail. */
  #finishExecute(tag: string, rows: number, what: string): void {
    if (this.#head() !== asked.execute) throw outOfStep(what)
    const ledger = this.#ledger
    const { ring, outcome } = ledger
    ledger.flushDeferred()
    const position = ring.head
    outcome.status = 'ok'
    outcome.rows = rows
    outcome.bytesUp = ring.bytesUp(position)
    outcome.bytesDown = this.#bytesDown
    outcome.durationUs = ledger.elapsedUs(ring.startedMs(position))
    outcome.tag = tag
    outcome.errorCode = outcome.errorText = ''
    ledger.deferredId = ring.id(position)
    if (!this.#syncFollows(position + 1)) ledger.flushDeferred()
    this.#pop()
  }

  #syncFollows(from: number): boolean {
    const { ring } = this.#ledger
    let position = from
    while (
      position < ring.tail &&
      position < from + 2 &&
      ring.kind(position) === asked.closePortal
    ) {
      position++
    }
    return position < ring.tail && ring.kind(position) === asked.sync
  }

  #ready(status: number): void {
    const ledger = this.#ledger
    const kind = this.#head()
    if (kind === asked.sync) {
      ledger.flushDeferred()
    } else if (kind === asked.query || kind === asked.functionCall) {
      this.#settleQuery()
      if (kind === asked.query) ledger.closeStatement(ledger.statements.unnamed)
    } else {
      throw outOfStep('ReadyForQuery')
    }
    this.#pop()
    if (status === idle) ledger.closeAllPortals()
  }

  /** A Query or FunctionCall: all of it, when the server is ready again. */
  #settleQuery(): void {
    const ledger = this.#ledger
    const { ring, outcome } = ledger
    const position = ring.head
    if (this.#errorCode !== '') {
      ledger.settleError(
        ring.id(position),
        ring.startedMs(position),
        ring.bytesUp(position),
        this.#errorCode,
        this.#errorText,
      )
      return
    }
    ledger.flushDeferred()
    outcome.status = 'ok'
    outcome.rows = this.#taggedRows
    outcome.bytesUp = ring.bytesUp(position)
    outcome.bytesDown = this.#bytesDown
    outcome.durationUs = ledger.elapsedUs(ring.startedMs(position))
    outcome.tag = this.#tag
    outcome.errorCode = outcome.errorText = ''
    ledger.sink.settle(ring.id(position), outcome)
  }

  #error(body: Buffer): void {
    const { severity, code, message } = readErrorResponse(body)
    const kind = this.#head()
    if (severity === 'FATAL' || severity === 'PANIC') {
      this.#fatal(code, message)
    } else if (kind === asked.query || kind === asked.functionCall) {
      if (this.#errorCode === '') {
        this.#errorCode = code
        this.#errorText = message
      }
      this.#ledger.copyingIn = false
    } else if (kind === asked.sync) {
      this.#commitFailed(code, message)
    } else if (kind !== 0) {
      this.#failStretch(code, message)
    }
  }

  /** The end of the implicit transaction failed: the statement before it did not last. */
  #commitFailed(code: string, text: string): void {
    const ledger = this.#ledger
    if (ledger.deferredId < 0) return
    const { outcome } = ledger
    outcome.status = 'error'
    outcome.errorCode = code
    outcome.errorText = text
    ledger.flushDeferred()
  }

  /** A step of the extended protocol failed: the server skips everything up to the next Sync. */
  #failStretch(code: string, text: string): void {
    const ledger = this.#ledger
    const { ring } = ledger
    this.#blame(code, text)
    if (ring.kind(ring.head) === asked.parse) {
      const { slot } = ring.statement(ring.head)!
      if (slot === ledger.statements.unnamed) ledger.closeStatement(slot)
    }
    this.#takeBack()
    while (!ring.empty && ring.kind(ring.head) !== asked.sync) this.#takeBack()
    ledger.skipping = ring.empty
    ledger.copyingIn = false
    this.#rows = this.#bytesDown = 0
  }

  /** Settles the statement that this error is about. */
  #blame(code: string, text: string): void {
    const ledger = this.#ledger
    const { ring } = ledger
    const { head } = ring
    const kind = ring.kind(head)
    const statement = ring.statement(head)
    const portal = ring.portal(head)
    let position = head
    if (kind !== asked.execute) {
      for (position = head + 1; position < ring.tail; position++) {
        const other = ring.kind(position)
        if (other === asked.sync) position = ring.tail
        else if (other === asked.execute) {
          if (portal !== undefined && ring.portal(position) === portal) break
          if (portal === undefined && statement !== undefined) {
            if (ring.statement(position) === statement) break
          }
        }
      }
    }
    if (position < ring.tail) {
      const id = ring.id(position)
      ledger.settleError(id, ring.startedMs(position), ring.bytesUp(position), code, text)
      if (position > head) ring.takeBack(position)
      else ring.clearId(position)
      return
    }
    if (statement === undefined && portal === undefined) return
    const source = ledger.prepareSource
    source.statement = statement ?? portal?.statement
    source.portal = portal
    const id = ledger.report(source)
    source.statement = source.portal = undefined
    ledger.settleError(id, ring.startedMs(head), 0, code, text)
  }

  /** The oldest question will not be answered any more. */
  #takeBack(): void {
    const ledger = this.#ledger
    const { ring } = ledger
    const position = ring.head
    switch (ring.kind(position)) {
      case asked.parse: {
        const statement = ring.statement(position)!
        ledger.answeredStatement(statement.slot)
        ledger.releaseStatement(statement)
        break
      }
      case asked.bind: {
        const portal = ring.portal(position)!
        ledger.answeredPortal(portal.slot)
        ledger.releasePortal(portal)
        break
      }
      case asked.closeStatement: {
        const slot = ring.statementSlot(position)
        if (slot !== undefined) ledger.answeredStatement(slot)
        break
      }
      case asked.closePortal: {
        const slot = ring.portalSlot(position)
        if (slot !== undefined) ledger.answeredPortal(slot)
        break
      }
      case asked.execute:
      case asked.query:
      case asked.functionCall:
        if (ring.id(position) >= 0) ledger.settleSkipped(ring.id(position))
        break
      default:
        break
    }
    ring.pop()
  }

  /** The server ends the connection: what ran failed, what waited will not run. */
  #fatal(code: string, text: string): void {
    const ledger = this.#ledger
    const { ring } = ledger
    const kind = this.#head()
    if (kind === asked.query || kind === asked.functionCall) {
      const position = ring.head
      const bytesUp = ring.bytesUp(position)
      ledger.settleError(ring.id(position), ring.startedMs(position), bytesUp, code, text)
      ring.clearId(position)
    } else if (kind === asked.sync) {
      this.#commitFailed(code, text)
    } else if (kind !== 0) {
      this.#blame(code, text)
    }
    while (!ring.empty) this.#takeBack()
    ledger.skipping = true
  }

  /**
   * The server reads copy data from now on. It ignores every Sync up to the end of the copy, also those that
   * were sent before it said so; any other message is an error of the copy.
   */
  #copyIn(): void {
    const kind = this.#head()
    if (kind !== asked.query && kind !== asked.execute) throw outOfStep('CopyInResponse')
    const ledger = this.#ledger
    const { ring } = ledger
    for (let position = ring.head + 1; position < ring.tail; position++) {
      const other = ring.kind(position)
      if (other === asked.copyEnd) {
        ring.takeBack(position)
        return
      }
      if (other === asked.sync) {
        ring.takeBack(position)
      } else if (other !== asked.gone) {
        // Swallowed by the copy, which fails.
        const id = ring.id(position)
        if (id >= 0) ledger.settleSkipped(id)
        if (other === asked.execute || other === asked.query || other === asked.functionCall) {
          ring.takeBack(position)
          return
        }
        throw outOfStep('CopyInResponse amid other messages')
      }
    }
    ledger.copyingIn = true
  }

  #effect(effect: number): void {
    const ledger = this.#ledger
    switch (effect) {
      case tagEffects.transactionEnds:
        ledger.closeAllPortals()
        break
      case tagEffects.forgetsAll:
        ledger.forgetStatements()
        break
      case tagEffects.deallocates:
        this.#deallocated = true
        break
      case tagEffects.prepares:
        // A name that was set free in SQL may now mean what SQL prepared; which one, nobody here knows.
        if (this.#deallocated) ledger.forgetStatements()
        break
      case tagEffects.closesCursor:
        this.#cursorClosed = true
        break
      default:
        if (this.#cursorClosed) ledger.closeAllPortals()
    }
  }

  #parameterStatus(buffer: Buffer, start: number, end: number): void {
    const zero = buffer.indexOf(0, start)
    if (zero < 0 || zero >= end - 1) return
    this.#parameter(
      buffer.toString('utf8', start, zero),
      buffer.toString('utf8', zero + 1, end - 1),
    )
  }
}

function outOfStep(what: string): SallyportError {
  return new SallyportError(
    'protocol-violation',
    `the server sent ${what} that nothing asked for`,
    {
      clientMessage: 'lost step with the resource: it answered something that was not asked',
      hint: 'Connect again. If it happens again, tell the operator.',
    },
  )
}
