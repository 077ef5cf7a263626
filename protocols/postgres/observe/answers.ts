import { SallyportError } from '../../kit/errors.ts'
import { backend } from '../wire.ts'
import { readErrorResponse } from '../wire/error-response.ts'
import type { FrameVisitor } from '../wire/frames.ts'
import { failCommit, failConnection, failStretch } from './failures.ts'
import { startCopyIn } from './copy-in.ts'
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
export class Answers implements FrameVisitor {
  /** The server said with an error that it ends the connection. */
  fatalSeen = false
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
        if (this.#ledger.head() === asked.describe) this.#pop()
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
        if (this.#ledger.head() !== asked.query) this.#finishExecute('', -1, 'EmptyQueryResponse')
        break
      case backend.error:
        this.#error(buffer.subarray(start + bodyAt, end))
        break
      case backend.copyInResponse: {
        const kind = this.#ledger.head()
        if (kind !== asked.query && kind !== asked.execute) throw outOfStep('CopyInResponse')
        startCopyIn(this.#ledger)
        break
      }
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
    if (type === backend.rowDescription && this.#ledger.head() === asked.describe) this.#pop()
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

  #pop(): void {
    this.#ledger.ring.pop()
    this.#rows = this.#bytesDown = 0
    this.#taggedRows = -1
    this.#tag = this.#errorCode = this.#errorText = ''
    if (this.#ledger.head() === 0) this.#ledger.flushDeferred()
  }

  #parsed(): void {
    if (this.#ledger.head() !== asked.parse) throw outOfStep('ParseComplete')
    const ledger = this.#ledger
    const statement = ledger.ring.statement(ledger.ring.head)!
    ledger.confirmStatement(statement)
    ledger.answeredStatement(statement.slot)
    ledger.releaseStatement(statement)
    this.#pop()
  }

  #bound(): void {
    if (this.#ledger.head() !== asked.bind) throw outOfStep('BindComplete')
    const ledger = this.#ledger
    const portal = ledger.ring.portal(ledger.ring.head)!
    ledger.confirmPortal(portal)
    ledger.answeredPortal(portal.slot)
    ledger.releasePortal(portal)
    this.#pop()
  }

  #closed(): void {
    const ledger = this.#ledger
    const kind = ledger.head()
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
    if (this.#ledger.head() !== asked.describe) throw outOfStep('ParameterDescription')
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
    if (this.#ledger.head() === asked.query) {
      this.#tag = tag
      if (rows >= 0) this.#taggedRows = Math.max(0, this.#taggedRows) + rows
      return
    }
    this.#finishExecute(tag, rows, 'CommandComplete')
  }

  /** An Execute is done. Its outcome waits for the Sync after it, where a commit may still fail. */
  #finishExecute(tag: string, rows: number, what: string): void {
    if (this.#ledger.head() !== asked.execute) throw outOfStep(what)
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
    const kind = ledger.head()
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
    ledger.settle(ring.id(position), outcome)
  }

  #error(body: Buffer): void {
    const { severity, code, message } = readErrorResponse(body)
    const kind = this.#ledger.head()
    if (severity === 'FATAL' || severity === 'PANIC') {
      this.fatalSeen = true
      failConnection(this.#ledger, kind, code, message)
    } else if (kind === asked.query || kind === asked.functionCall) {
      if (this.#errorCode === '') {
        this.#errorCode = code
        this.#errorText = message
      }
      this.#ledger.copyingIn = false
    } else if (kind === asked.sync) {
      failCommit(this.#ledger, code, message)
    } else if (kind !== 0) {
      failStretch(this.#ledger, code, message)
      this.#rows = this.#bytesDown = 0
    }
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
