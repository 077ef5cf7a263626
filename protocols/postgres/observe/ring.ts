import { assert } from '../../kit/assert.ts'
import type { NameSlot, Portal, Statement } from './named.ts'

/** What the server still has to answer, in the order in which the client asked. */
export const asked = {
  query: 1,
  parse: 2,
  bind: 3,
  describe: 4,
  execute: 5,
  closeStatement: 6,
  sync: 7,
  functionCall: 8,
  /** CopyDone or CopyFail: no answer of its own, but it ends what a copy swallows. */
  copyEnd: 9,
  /** Taken back: the server will not answer it. */
  gone: 10,
  closePortal: 11,
} as const

const firstCapacity = 64

/**
 * Questions awaiting their answers: a ring of parallel arrays, so that asking allocates nothing. Positions are
 * absolute and only grow; `head` is the oldest question, `tail` the place of the next one. Doubles up to
 * its limit, which is the caller's to respect (`full`).
 */
export class QuestionRing {
  readonly #max: number
  #capacity = firstCapacity
  #kinds = new Uint8Array(firstCapacity)
  #ids = new Float64Array(firstCapacity)
  #startedMs = new Float64Array(firstCapacity)
  #bytesUp = new Float64Array(firstCapacity)
  #statements: (Statement | undefined)[] = Array.from({ length: firstCapacity })
  #portals: (Portal | undefined)[] = Array.from({ length: firstCapacity })
  #slots: (NameSlot<never> | undefined)[] = Array.from({ length: firstCapacity })
  head = 0
  tail = 0
  /** Syncs and Queries in it: what may end a transaction. */
  boundaries = 0

  constructor(max: number) {
    this.#max = max
  }

  get empty(): boolean {
    return this.head === this.tail
  }

  get full(): boolean {
    return this.tail - this.head >= this.#max
  }

  push(
    kind: number,
    id: number,
    startedMs: number,
    statement: Statement | undefined,
    portal: Portal | undefined,
  ): void {
    if (this.tail - this.head === this.#capacity) this.#grow()
    const at = this.tail & (this.#capacity - 1)
    if (isBoundary(kind)) this.boundaries++
    this.#kinds[at] = kind
    this.#ids[at] = id
    this.#startedMs[at] = startedMs
    this.#bytesUp[at] = 0
    this.#statements[at] = statement
    this.#portals[at] = portal
    this.tail++
  }

  /** Close of a name; `slot` is undefined where the name means nothing. */
  pushClose(
    kind: number,
    startedMs: number,
    slot: NameSlot<Statement> | NameSlot<Portal> | undefined,
  ): void {
    this.push(kind, -1, startedMs, undefined, undefined)
    this.#slots[(this.tail - 1) & (this.#capacity - 1)] = slot as NameSlot<never> | undefined
  }

  /** Forgets the oldest question. */
  pop(): void {
    assert(this.head < this.tail, 'a question to forget')
    const at = this.head & (this.#capacity - 1)
    this.#statements[at] = undefined
    this.#portals[at] = undefined
    this.#slots[at] = undefined
    if (isBoundary(this.#kinds[at]!)) this.boundaries--
    this.head++
  }

  kind(position: number): number {
    return this.#kinds[position & (this.#capacity - 1)]!
  }

  /** The server will not answer this one: it is `gone`. */
  takeBack(position: number): void {
    const at = position & (this.#capacity - 1)
    if (isBoundary(this.#kinds[at]!)) this.boundaries--
    this.#kinds[at] = asked.gone
  }

  id(position: number): number {
    return this.#ids[position & (this.#capacity - 1)]!
  }

  startedMs(position: number): number {
    return this.#startedMs[position & (this.#capacity - 1)]!
  }

  bytesUp(position: number): number {
    return this.#bytesUp[position & (this.#capacity - 1)]!
  }

  addBytesUp(position: number, bytes: number): void {
    const at = position & (this.#capacity - 1)
    this.#bytesUp[at] = this.#bytesUp[at]! + bytes
  }

  statement(position: number): Statement | undefined {
    return this.#statements[position & (this.#capacity - 1)]
  }

  portal(position: number): Portal | undefined {
    return this.#portals[position & (this.#capacity - 1)]
  }

  /** The slot of a `closeStatement`. */
  statementSlot(position: number): NameSlot<Statement> | undefined {
    return this.#slots[position & (this.#capacity - 1)]
  }

  /** The slot of a `closePortal`. */
  portalSlot(position: number): NameSlot<Portal> | undefined {
    return this.#slots[position & (this.#capacity - 1)]
  }

  #grow(): void {
    const old = this.#capacity
    const capacity = old * 2
    const kinds = new Uint8Array(capacity)
    const ids = new Float64Array(capacity)
    const startedMs = new Float64Array(capacity)
    const bytesUp = new Float64Array(capacity)
    const statements: (Statement | undefined)[] = Array.from({ length: capacity })
    const portals: (Portal | undefined)[] = Array.from({ length: capacity })
    const slots: (NameSlot<never> | undefined)[] = Array.from({ length: capacity })
    for (let position = this.head; position < this.tail; position++) {
      const from = position & (old - 1)
      const to = position & (capacity - 1)
      kinds[to] = this.#kinds[from]!
      ids[to] = this.#ids[from]!
      startedMs[to] = this.#startedMs[from]!
      bytesUp[to] = this.#bytesUp[from]!
      statements[to] = this.#statements[from]
      portals[to] = this.#portals[from]
      slots[to] = this.#slots[from]
    }
    this.#capacity = capacity
    this.#kinds = kinds
    this.#ids = ids
    this.#startedMs = startedMs
    this.#bytesUp = bytesUp
    this.#statements = statements
    this.#portals = portals
    this.#slots = slots
  }
}

function isBoundary(kind: number): boolean {
  return kind === asked.sync || kind === asked.query
}
