/** What a command's completion says about names, beyond that it is done. */
export const tagEffects = {
  none: 0,
  /** Portals end with their transaction. */
  transactionEnds: 1,
  forgetsAll: 2,
  deallocates: 3,
  prepares: 4,
  closesCursor: 5,
  declaresCursor: 6,
} as const

const effects = new Map<string, number>([
  ['COMMIT', tagEffects.transactionEnds],
  ['ROLLBACK', tagEffects.transactionEnds],
  ['PREPARE TRANSACTION', tagEffects.transactionEnds],
  ['DISCARD ALL', tagEffects.forgetsAll],
  ['DEALLOCATE ALL', tagEffects.forgetsAll],
  ['DEALLOCATE', tagEffects.deallocates],
  ['PREPARE', tagEffects.prepares],
  ['CLOSE CURSOR', tagEffects.closesCursor],
  ['CLOSE CURSOR ALL', tagEffects.closesCursor],
  ['DECLARE CURSOR', tagEffects.declaresCursor],
])

/** The longest that the record of an outcome takes. */
const tagBytesMax = 255

export interface Tag {
  tag: string
  /** The count at its end, or -1. */
  rows: number
  effect: number
}

/** Reads CommandComplete's tags. The same tag again, which is the usual case, makes no string. */
export class TagCache {
  #bytes = Buffer.alloc(0)
  #last: Tag = { tag: '', rows: -1, effect: tagEffects.none }

  read(buffer: Buffer, start: number, end: number): Tag {
    if (this.#isLast(buffer, start, end)) return this.#last
    const stop = Math.min(end, start + tagBytesMax)
    const tag = buffer.toString('latin1', start, stop)
    this.#bytes = Buffer.from(buffer.subarray(start, end))
    this.#last = { tag, rows: rowsOf(tag), effect: effects.get(tag) ?? tagEffects.none }
    return this.#last
  }

  #isLast(buffer: Buffer, start: number, end: number): boolean {
    const bytes = this.#bytes
    if (bytes.length !== end - start) return false
    for (let index = bytes.length - 1; index >= 0; index--) {
      if (bytes[index] !== buffer[start + index]) return false
    }
    return true
  }
}

function rowsOf(tag: string): number {
  const space = tag.lastIndexOf(' ')
  if (space < 0) return -1
  const digits = tag.slice(space + 1)
  return /^\d{1,15}$/.test(digits) ? Number(digits) : -1
}
