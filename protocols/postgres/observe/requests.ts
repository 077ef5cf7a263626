import { frontend } from '../wire.ts'
import type { FrameVisitor } from '../wire/frames.ts'
import { checkBind, checkFunctionCall, malformed, readTypes, zeroAt } from './checks.ts'
import { LargeMessage } from './large.ts'
import type { Ledger } from './ledger.ts'
import type { NameSlot, Portal, Statement } from './named.ts'
import { closeInStretch, noBytes, noTypes } from './named.ts'
import { asked } from './ring.ts'
import type { SpilledText } from './text.ts'
import { redactText, TextTap } from './text.ts'
import { findTriggers, triggers } from './triggers.ts'

const bodyAt = 5
const statementLetter = 0x53

/**
 * Follows what the client sends: makes the record of everything that will run, before it goes upstream, and
 * notes what the server will have to answer.
 *
 * A message whose meaning depends on answers that are not there yet (a name that was defined anew before the last
 * Sync) is refused for now: `whole` and `begin` return false, and the caller offers it again later.
 */
export class Requests implements FrameVisitor {
  readonly #ledger: Ledger
  readonly #large: LargeMessage
  /** Where in the ring the youngest Query or Execute is; copy data counts for it. */
  #copyPosition = -1
  #streamingCopy = false

  constructor(ledger: Ledger) {
    this.#ledger = ledger
    this.#large = new LargeMessage(ledger, this)
  }

  whole(buffer: Buffer, start: number, end: number): boolean {
    const ledger = this.#ledger
    if (ledger.ring.full) return false
    const type = buffer[start]!
    switch (type) {
      case frontend.query:
        return this.#query(buffer, start + bodyAt, end)
      case frontend.bind:
        return this.#bind(buffer, start + bodyAt, end)
      case frontend.execute:
        return this.#execute(buffer, start + bodyAt, end)
      case frontend.sync:
        this.#sync()
        return true
      case frontend.describe:
        return this.#describe(buffer, start + bodyAt, end)
      case frontend.parse:
        return this.#parse(buffer, start + bodyAt, end)
      case frontend.close:
        return this.#close(buffer, start + bodyAt, end)
      case frontend.copyData:
        this.#countCopy(end - start - bodyAt)
        return true
      case frontend.copyDone:
      case frontend.copyFail:
        this.#copyEnd()
        return true
      case frontend.functionCall:
        checkFunctionCall(buffer, start + bodyAt, end)
        this.functionCall(buffer, start + bodyAt, end)
        return true
      default:
        // Flush and Terminate ask nothing.
        return true
    }
  }

  begin(type: number, bodyBytes: number): boolean {
    if (this.#ledger.ring.full) return false
    this.#streamingCopy = type === frontend.copyData
    if (this.#streamingCopy) {
      this.#countCopy(bodyBytes)
      return true
    }
    // Which statement a long Bind means must be known before it has passed.
    if (type === frontend.bind && !this.#ledger.copyingIn && this.#inDoubt()) return false
    this.#large.begin(type, bodyBytes)
    return true
  }

  part(buffer: Buffer, start: number, end: number, last: boolean): void {
    if (!this.#streamingCopy) this.#large.part(buffer, start, end, last)
  }

  /** The connection ended in the middle of a long message. */
  abandon(): void {
    this.#large.abandon()
  }

  #inDoubt(): boolean {
    const { ring, namesChangeUntil } = this.#ledger
    return ring.boundaries > 0 || ring.head < namesChangeUntil
  }

  // One method per message. `at` is the first byte of its body.

  #query(buffer: Buffer, at: number, end: number): boolean {
    if (end <= at || buffer[end - 1] !== 0) throw malformed('Query')
    const ledger = this.#ledger
    const source = ledger.querySource
    const found = findTriggers(buffer, at, end - 1)
    source.buffer = buffer
    source.start = at
    source.end = end - 1
    source.blob = undefined
    source.redacted = false
    if (end - 1 - at > ledger.limits.inlineTextBytesMax) {
      this.spilledQuery(this.#spill(buffer, at, end - 1), found)
      return true
    }
    if ((found & triggers.credential) !== 0) {
      const redacted = redactText(buffer, at, end - 1, ledger.plainBackslashes)
      if (redacted !== undefined) {
        source.buffer = redacted
        source.start = 0
        source.end = redacted.length
        source.redacted = true
      }
    }
    this.#ask(asked.query, ledger.report(source))
    source.buffer = noBytes
    ledger.namesMayChange(found)
    return true
  }

  /** A Query whose text is in a blob. */
  spilledQuery(spilled: SpilledText, found: number): void {
    const ledger = this.#ledger
    const source = ledger.querySource
    source.buffer = spilled.text
    source.start = 0
    source.end = spilled.text.length
    source.blob = spilled.blob
    source.redacted = spilled.redacted
    this.#ask(asked.query, ledger.report(source))
    source.buffer = noBytes
    ledger.namesMayChange(found)
  }

  #parse(buffer: Buffer, at: number, end: number): boolean {
    const nameEnd = zeroAt(buffer, at, end)
    const textEnd = buffer.indexOf(0, nameEnd + 1)
    if (textEnd < 0 || textEnd + 3 > end) throw malformed('Parse')
    const types = readTypes(buffer, textEnd + 1, end)
    const ledger = this.#ledger
    const textAt = nameEnd + 1
    const found = findTriggers(buffer, textAt, textEnd)
    const name = nameEnd === at ? noBytes : Buffer.from(buffer.subarray(at, nameEnd))
    if (textEnd - textAt > ledger.limits.inlineTextBytesMax) {
      this.parse(name, this.#spill(buffer, textAt, textEnd), found, types)
      return true
    }
    const redacted =
      (found & triggers.credential) === 0
        ? undefined
        : redactText(buffer, textAt, textEnd, ledger.plainBackslashes)
    const text = redacted ?? Buffer.from(buffer.subarray(textAt, textEnd))
    this.parse(name, { text, blob: undefined, redacted: redacted !== undefined }, found, types)
    return true
  }

  /** A Parse, its text copied or in a blob. */
  parse(
    name: Buffer,
    read: Omit<SpilledText, 'blob'> & Pick<Statement, 'blob'>,
    found: number,
    types: Int32Array,
  ): void {
    const ledger = this.#ledger
    if (this.#swallowed()) return
    const slot = ledger.statements.slot(name, 0, name.length)
    const statement: Statement = {
      name,
      slot,
      text: read.text,
      blob: read.blob,
      redacted: read.redacted,
      mentionsDblink: (found & triggers.dblink) !== 0,
      changes: found,
      types: noTypes,
      holders: 0,
      keptBytes: 0,
    }
    ledger.keepStatement(statement)
    if (types.length > 0) ledger.typeStatement(statement, types)
    ledger.releaseStatement(slot.latest)
    slot.latest = statement
    statement.holders++
    slot.latestStretch = ledger.stretch
    slot.unanswered++
    ledger.ring.push(asked.parse, -1, ledger.nowMs, statement, undefined)
  }

  #bind(buffer: Buffer, at: number, end: number): boolean {
    const nameEnd = zeroAt(buffer, at, end)
    const statementEnd = zeroAt(buffer, nameEnd + 1, end)
    const valuesAt = statementEnd + 1
    const valuesEnd = checkBind(buffer, valuesAt, end)
    const ledger = this.#ledger
    const slot = ledger.statements.find(buffer, nameEnd + 1, statementEnd)
    if (this.#swallowed()) return true
    if (slot !== undefined && this.#mustWait(slot)) return false
    const statement = slot === undefined ? undefined : this.#meaning(slot)
    const length = valuesEnd - valuesAt
    const spills = length > ledger.limits.inlineTextBytesMax
    const portal = ledger.takePortal(spills ? 0 : length)
    portal.length = spills ? 0 : length
    if (!spills) {
      buffer.copy(portal.bytes, 0, valuesAt, valuesEnd)
    } else if (statement?.redacted !== true) {
      const blob = ledger.sink.spill()
      blob.write(buffer.subarray(at, end))
      portal.blob = blob.finish()
    }
    portal.statementName =
      statement !== undefined || statementEnd === nameEnd + 1
        ? noBytes
        : Buffer.from(buffer.subarray(nameEnd + 1, statementEnd))
    this.bind(portal, statement, buffer, at, nameEnd)
    return true
  }

  /** Notes a Bind; its portal is held once, by the ring. */
  bind(
    portal: Portal,
    statement: Statement | undefined,
    buffer: Buffer,
    nameAt: number,
    nameEnd: number,
  ): void {
    const ledger = this.#ledger
    const slot = ledger.portals.slot(buffer, nameAt, nameEnd)
    portal.slot = slot
    portal.statement = statement
    if (statement !== undefined) statement.holders++
    ledger.releasePortal(slot.latest)
    slot.latest = portal
    portal.holders++
    slot.latestStretch = ledger.stretch
    slot.unanswered++
    ledger.ring.push(asked.bind, -1, ledger.nowMs, statement, portal)
  }

  /** What the name of a statement means to the next Bind. Only if it need not wait. */
  statementNamed(buffer: Buffer, start: number, end: number): Statement | undefined {
    const slot = this.#ledger.statements.find(buffer, start, end)
    return slot === undefined ? undefined : this.#meaning(slot)
  }

  #meaning<T>(slot: NameSlot<T>): T | undefined {
    return slot.unanswered > 0 ? slot.latest : slot.confirmed
  }

  /** Whether only the server's answers can say what this name means. */
  #mustWait(slot: NameSlot<Statement>): boolean {
    const ledger = this.#ledger
    if (slot.key !== '' && ledger.ring.head < ledger.namesChangeUntil) return true
    return slot.unanswered > 0 && slot.latestStretch !== ledger.stretch
  }

  #execute(buffer: Buffer, at: number, end: number): boolean {
    const nameEnd = zeroAt(buffer, at, end)
    if (nameEnd + 5 !== end) throw malformed('Execute')
    const ledger = this.#ledger
    const slot = ledger.portals.find(buffer, at, nameEnd)
    let portal: Portal | undefined
    if (slot !== undefined) {
      if (slot.key !== '' && ledger.portalsInDoubt && !this.#swallows()) return false
      if (slot.unanswered > 0 && slot.latestStretch === ledger.stretch) portal = slot.latest
      else if (ledger.ring.boundaries > 0 && !this.#swallows()) return false
      else portal = slot.confirmed
    }
    const source = ledger.statementSource
    source.portal = portal
    source.statement = portal?.statement
    source.buffer = buffer
    source.start = at
    source.end = nameEnd
    const id = ledger.report(source)
    source.buffer = noBytes
    source.portal = source.statement = undefined
    if (this.#swallowed(id)) return true
    this.#copyPosition = ledger.ring.tail
    ledger.ring.push(asked.execute, id, ledger.nowMs, portal?.statement, portal)
    ledger.namesMayChange(portal?.statement?.changes ?? 0)
    return true
  }

  #describe(buffer: Buffer, at: number, end: number): boolean {
    const nameEnd = zeroAt(buffer, at + 1, end)
    if (nameEnd + 1 !== end) throw malformed('Describe')
    const ledger = this.#ledger
    if (this.#swallowed()) return true
    let statement: Statement | undefined
    let portal: Portal | undefined
    if (buffer[at] === statementLetter) {
      const slot = ledger.statements.find(buffer, at + 1, nameEnd)
      if (slot !== undefined && this.#mustWait(slot)) return false
      statement = slot === undefined ? undefined : this.#meaning(slot)
    } else {
      const slot = ledger.portals.find(buffer, at + 1, nameEnd)
      if (slot !== undefined && slot.unanswered > 0 && slot.latestStretch === ledger.stretch) {
        portal = slot.latest
      }
    }
    ledger.ring.push(asked.describe, -1, ledger.nowMs, statement, portal)
    return true
  }

  #close(buffer: Buffer, at: number, end: number): boolean {
    const nameEnd = zeroAt(buffer, at + 1, end)
    if (nameEnd + 1 !== end) throw malformed('Close')
    const ledger = this.#ledger
    if (this.#swallowed()) return true
    if (buffer[at] === statementLetter) {
      const slot = ledger.statements.find(buffer, at + 1, nameEnd)
      if (slot !== undefined) {
        ledger.releaseStatement(slot.latest)
        closeInStretch(slot, ledger.stretch)
      }
      ledger.ring.pushClose(asked.closeStatement, ledger.nowMs, slot)
    } else {
      const slot = ledger.portals.find(buffer, at + 1, nameEnd)
      if (slot !== undefined) {
        ledger.releasePortal(slot.latest)
        closeInStretch(slot, ledger.stretch)
      }
      ledger.ring.pushClose(asked.closePortal, ledger.nowMs, slot)
    }
    return true
  }

  #sync(): void {
    const ledger = this.#ledger
    ledger.stretch++
    // A server that reads copy data ignores Sync.
    if (ledger.copyingIn) return
    ledger.skipping = false
    ledger.ring.push(asked.sync, -1, ledger.nowMs, undefined, undefined)
  }

  #copyEnd(): void {
    const ledger = this.#ledger
    if (ledger.copyingIn) ledger.copyingIn = false
    else if (!ledger.skipping && !ledger.ring.empty) {
      ledger.ring.push(asked.copyEnd, -1, ledger.nowMs, undefined, undefined)
    }
  }

  /** A FunctionCall, whole in `buffer` from its object identifier on, or its arguments in a blob. */
  functionCall(buffer: Buffer, at: number, end: number, blob?: Statement['blob']): void {
    const ledger = this.#ledger
    const source = ledger.functionSource
    source.buffer = buffer
    source.start = at
    source.end = end
    source.blob = blob
    const id = ledger.report(source)
    source.buffer = noBytes
    this.#ask(asked.functionCall, id)
  }

  #countCopy(bytes: number): void {
    const { ring } = this.#ledger
    if (this.#copyPosition >= ring.head) ring.addBytesUp(this.#copyPosition, bytes)
  }

  #spill(buffer: Buffer, start: number, end: number): SpilledText {
    const tap = new TextTap(this.#ledger.sink.spill(), this.#ledger.plainBackslashes)
    tap.push(buffer, start, end)
    return tap.finish()
  }

  #ask(kind: number, id: number): void {
    if (this.#swallowed(id)) return
    const { ring, nowMs } = this.#ledger
    this.#copyPosition = ring.tail
    ring.push(kind, id, nowMs, undefined, undefined)
  }

  #swallows(): boolean {
    return this.#ledger.skipping || this.#ledger.copyingIn
  }

  /**
   * Whether the server will not do this: it skips up to the next Sync, or it reads copy data, where any other message is
   * an error of the copy. `id` is settled as skipped.
   */
  #swallowed(id = -1): boolean {
    const ledger = this.#ledger
    if (!this.#swallows()) return false
    if (ledger.copyingIn) ledger.copyingIn = false
    if (id >= 0) ledger.settleSkipped(id)
    return true
  }
}
