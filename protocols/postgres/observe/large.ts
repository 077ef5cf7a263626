import type { BlobReference } from '../../activity.ts'
import type { BlobWriter } from '../../session.ts'
import { frontend } from '../wire.ts'
import { malformed, readTypes, zeroAt } from './checks.ts'
import type { Ledger } from './ledger.ts'
import type { Statement } from './named.ts'
import { noBytes } from './named.ts'
import type { Requests } from './requests.ts'
import { TextTap } from './text.ts'
import { findTriggers } from './triggers.ts'

/** What the names in front of a long message may take. */
const namesBytesMax = 16 * 1024
/** Types that a long Parse may declare: 65,535. */
const typesBytesMax = 2 + 4 * 65_535
/** A word that two pieces share must be found in one of them. */
const overlapBytes = 8

const stages = { names: 0, text: 1, rest: 2, values: 3 } as const

/**
 * A message too long to be held: its bytes go upstream as they come, its text or parameters go into a blob, and
 * the record with the blob's reference is made when the last byte is here and before it goes on.
 */
export class LargeMessage {
  readonly #ledger: Ledger
  readonly #requests: Requests
  #type = 0
  #stage: number = stages.names
  /** Bytes collected until names, or declared types, are complete. */
  #collected: Buffer[] = []
  #collectedBytes = 0
  #tap: TextTap | undefined
  #blob: BlobWriter | undefined
  #found = 0
  #overlap = noBytes
  #name = noBytes
  #statement: Statement | undefined

  constructor(ledger: Ledger, requests: Requests) {
    this.#ledger = ledger
    this.#requests = requests
  }

  begin(type: number, bodyBytes: number): void {
    if (bodyBytes < 1) throw malformed('a long message without a body')
    this.#type = type
    this.#collected = []
    this.#collectedBytes = 0
    this.#found = 0
    this.#overlap = noBytes
    this.#name = noBytes
    this.#statement = undefined
    this.#stage = stages.names
    if (type === frontend.query) this.#startText()
  }

  part(buffer: Buffer, start: number, end: number, last: boolean): void {
    let at = start
    if (this.#stage === stages.names) at = this.#names(buffer, start, end)
    if (this.#stage === stages.text && at < end) at = this.#text(buffer, at, end, last)
    if (this.#stage === stages.rest && at < end) this.#collect(buffer, at, end, typesBytesMax)
    if (this.#stage === stages.values && at < end) this.#blob?.write(buffer.subarray(at, end))
    if (last) this.#finish()
  }

  /** The rest will never come. */
  abandon(): void {
    this.#tap?.abandon()
    this.#blob?.abandon()
    this.#tap = undefined
    this.#blob = undefined
  }

  #startText(): void {
    this.#stage = stages.text
    this.#tap = new TextTap(this.#ledger.sink.spill(), this.#ledger.plainBackslashes)
  }

  #collect(buffer: Buffer, start: number, end: number, bytesMax: number): void {
    this.#collected.push(Buffer.from(buffer.subarray(start, end)))
    this.#collectedBytes += end - start
    if (this.#collectedBytes > bytesMax) throw malformed('a name without its end')
  }

  /** Collects what comes before the text or the values. Returns where the piece goes on. */
  #names(buffer: Buffer, start: number, end: number): number {
    const before = this.#collectedBytes
    const taken = Math.min(end, start + namesBytesMax - before)
    this.#collect(buffer, start, taken, namesBytesMax)
    const head = Buffer.concat(this.#collected)
    const namesEnd = this.#namesEnd(head)
    if (namesEnd < 0) {
      if (head.length >= namesBytesMax) throw malformed('a name without its end')
      return taken
    }
    this.#collected = []
    this.#collectedBytes = 0
    if (this.#type === frontend.parse) {
      this.#name = Buffer.from(head.subarray(0, namesEnd - 1))
      this.#startText()
      return start + namesEnd - before
    }
    this.#name = Buffer.from(head.subarray(0, namesEnd))
    if (this.#type === frontend.bind) {
      const portalEnd = head.indexOf(0)
      this.#statement = this.#requests.statementNamed(head, portalEnd + 1, namesEnd - 1)
    }
    this.#stage = stages.values
    if (this.#statement?.redacted !== true) {
      this.#blob = this.#ledger.sink.spill()
      this.#blob.write(this.#name)
    }
    return start + namesEnd - before
  }

  /** How many bytes the names take, with their zero bytes; -1 while they are incomplete. */
  #namesEnd(head: Buffer): number {
    if (this.#type === frontend.functionCall) return head.length < 4 ? -1 : 4
    const first = head.indexOf(0)
    if (first < 0 || this.#type === frontend.parse) return first + (first < 0 ? 0 : 1)
    const second = head.indexOf(0, first + 1)
    return second < 0 ? -1 : second + 1
  }

  #text(buffer: Buffer, start: number, end: number, last: boolean): number {
    let stop = end
    if (this.#type === frontend.query) {
      if (last && buffer[end - 1] !== 0) throw malformed('Query')
      if (last) stop = end - 1
    } else {
      const zero = buffer.indexOf(0, start)
      if (zero >= 0 && zero < end) {
        stop = zero
        this.#stage = stages.rest
      }
    }
    this.#look(buffer, start, stop)
    this.#tap!.push(buffer, start, stop)
    return this.#stage === stages.rest ? stop + 1 : end
  }

  #look(buffer: Buffer, start: number, end: number): void {
    this.#found |= findTriggers(buffer, start, end)
    const seam = Buffer.concat([
      this.#overlap,
      buffer.subarray(start, Math.min(end, start + overlapBytes)),
    ])
    this.#found |= findTriggers(seam, 0, seam.length)
    const tail = Buffer.concat([
      this.#overlap,
      buffer.subarray(Math.max(start, end - overlapBytes), end),
    ])
    this.#overlap = tail.subarray(Math.max(0, tail.length - overlapBytes))
  }

  #finish(): void {
    switch (this.#type) {
      case frontend.query:
        this.#requests.spilledQuery(this.#finishText(), this.#found)
        break
      case frontend.parse: {
        if (this.#stage !== stages.rest) throw malformed('Parse')
        const rest = Buffer.concat(this.#collected)
        const types = readTypes(rest, 0, rest.length)
        this.#requests.parse(this.#name, this.#finishText(), this.#found, types)
        break
      }
      case frontend.bind:
        this.#finishBind()
        break
      default:
        if (this.#stage !== stages.values) throw malformed('FunctionCall')
        this.#requests.functionCall(this.#name, 0, 4, this.#finishBlob())
    }
    this.#collected = []
  }

  #finishText(): ReturnType<TextTap['finish']> {
    const spilled = this.#tap!.finish()
    this.#tap = undefined
    return spilled
  }

  #finishBlob(): BlobReference | undefined {
    const reference = this.#blob?.finish()
    this.#blob = undefined
    return reference
  }

  #finishBind(): void {
    if (this.#stage !== stages.values) throw malformed('Bind')
    const names = this.#name
    const portalEnd = zeroAt(names, 0, names.length)
    const portal = this.#ledger.takePortal(0)
    portal.blob = this.#finishBlob()
    portal.statementName =
      this.#statement === undefined
        ? Buffer.from(names.subarray(portalEnd + 1, names.length - 1))
        : noBytes
    this.#requests.bind(portal, this.#statement, names, 0, portalEnd)
  }
}
