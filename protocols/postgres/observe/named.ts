import type { BlobReference } from '../../activity.ts'
import { SallyportError } from '../../kit/errors.ts'

export const noBytes = Buffer.alloc(0)
export const noTypes = new Int32Array(0)

/** A prepared statement, as the client sent it. Never changed once it was made, except for its types. */
export interface Statement {
  /** As the client wrote it, without the zero byte. */
  readonly name: Buffer
  readonly slot: NameSlot<Statement>
  /** The text, or its beginning where `blob` holds the whole. Redacted already. */
  readonly text: Buffer
  readonly blob: BlobReference | undefined
  readonly redacted: boolean
  /** Parameters may carry connection strings: look at each. */
  readonly mentionsDblink: boolean
  /** What may change its meaning when it runs: `triggers.names` and `triggers.portals`. */
  readonly changes: number
  /** Types of the parameters; 0 where the client left it to the server and nobody asked yet. */
  types: Int32Array
  holders: number
  /** What it counts for among the bytes kept. */
  keptBytes: number
}

/** Parameters bound to a statement. */
export interface Portal {
  slot: NameSlot<Portal>
  /** Undefined: no such statement went through here (made by SQL PREPARE, or none at all). */
  statement: Statement | undefined
  /** Name of the statement as the Bind gave it. */
  statementName: Buffer
  /** The parameters as they were on the wire: formats, count, values. Valid up to `length`; reused. */
  bytes: Buffer
  length: number
  /** The whole Bind message, where it is too long to keep. */
  blob: BlobReference | undefined
  holders: number
}

/**
 * What a name means. The server's word is the truth (`confirmed`): only ParseComplete or BindComplete says
 * that a name was taken. Until then `latest` is right for those who refer to it within the same stretch up to
 * a Sync, because if the definition fails, the server skips them. Across a Sync nobody can know.
 */
export interface NameSlot<T> {
  readonly key: string
  confirmed: T | undefined
  latest: T | undefined
  /** The stretch (between two Syncs) of the youngest definition or Close. */
  latestStretch: number
  /** Definitions and Closes of this name that the server has not answered. */
  unanswered: number
}

/** The server compares names by their first 63 bytes (NAMEDATALEN - 1). */
const nameBytesMax = 63
const cacheSlots = 16

/** Slots by name. Looking up a name seen lately makes no string. */
export class NameTable<T> {
  readonly #slots = new Map<string, NameSlot<T>>()
  readonly #unnamed: NameSlot<T> = newSlot('')
  readonly #cacheBytes: Buffer[] = []
  readonly #cache: (NameSlot<T> | undefined)[] = []

  /** Named slots; the unnamed one does not count. */
  get size(): number {
    return this.#slots.size
  }

  get unnamed(): NameSlot<T> {
    return this.#unnamed
  }

  /** The slot of a name, if it means anything. `end` is the zero byte after the name. */
  find(buffer: Buffer, start: number, end: number): NameSlot<T> | undefined {
    return this.#lookUp(buffer, start, end, false)
  }

  /** The slot of a name that is about to mean something. */
  slot(buffer: Buffer, start: number, end: number): NameSlot<T> {
    return this.#lookUp(buffer, start, end, true)!
  }

  #lookUp(buffer: Buffer, start: number, end: number, make: boolean): NameSlot<T> | undefined {
    if (start === end) return this.#unnamed
    const stop = Math.min(end, start + nameBytesMax)
    const line = (buffer[stop - 1]! + stop - start) & (cacheSlots - 1)
    const cached = this.#cache[line]
    if (cached !== undefined && same(this.#cacheBytes[line]!, buffer, start, stop)) return cached
    const key = buffer.toString('latin1', start, stop)
    let slot = this.#slots.get(key)
    if (slot === undefined) {
      if (!make) return undefined
      requireAscii(key)
      slot = newSlot<T>(key)
      this.#slots.set(key, slot)
    }
    this.#cache[line] = slot
    this.#cacheBytes[line] = Buffer.from(buffer.subarray(start, stop))
    return slot
  }

  /** Drops the slot if it means nothing any more. */
  tidy(slot: NameSlot<T>): void {
    if (slot.unanswered > 0 || slot.confirmed !== undefined || slot === this.#unnamed) return
    slot.latest = undefined
    this.#slots.delete(slot.key)
    const line = this.#cache.indexOf(slot)
    if (line >= 0) this.#cache[line] = undefined
  }

  /** Calls `run` for every slot, the unnamed one too. It may `tidy` the slot it is given. */
  forEach(run: (slot: NameSlot<T>) => void): void {
    run(this.#unnamed)
    for (const slot of this.#slots.values()) run(slot)
  }
}

/** The server converts names from the client's encoding, so that other bytes would mean something else after each SET. */
function requireAscii(name: string): void {
  if (/^[\0-\x7f]*$/.test(name)) return
  throw new SallyportError(
    'unsupported-feature',
    'a name that is not ASCII, of a statement or portal',
    {
      clientMessage: 'names of prepared statements and portals must be ASCII here',
      hint: 'Use letters, digits and underscores for them.',
    },
  )
}

function newSlot<T>(key: string): NameSlot<T> {
  return { key, confirmed: undefined, latest: undefined, latestStretch: -1, unanswered: 0 }
}

function same(name: Buffer, buffer: Buffer, start: number, end: number): boolean {
  if (name.length !== end - start) return false
  for (let index = 0; index < name.length; index++) {
    if (name[index] !== buffer[start + index]) return false
  }
  return true
}

/** A Close of this name goes upstream. The caller has released what `latest` was. */
export function closeInStretch<T>(slot: NameSlot<T>, stretch: number): void {
  slot.latest = undefined
  slot.latestStretch = stretch
  slot.unanswered++
}
