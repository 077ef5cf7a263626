/**
 * A cheap look at a statement's bytes for words that need more care. Horspool's search for several words of five
 * bytes at once, ASCII case folded: about one byte in five is looked at.
 */

/** What may be in the text. A hit says "look closer", nothing more. */
export const triggers = {
  /** PASSWORD, passwd, password=…, a postgresql:// address: it may carry a credential. */
  credential: 1,
  /** dblink: its parameters may carry a connection string. */
  dblink: 2,
  /** DEALLOCATE or DISCARD: names of prepared statements may change their meaning. */
  names: 4,
  /** CLOSE or DECLARE: names of portals may change their meaning, for a cursor of SQL is a portal. */
  portals: 8,
} as const

const words: readonly [string, number][] = [
  ['passw', triggers.credential],
  ['sql:/', triggers.credential],
  ['res:/', triggers.credential],
  ['dblin', triggers.dblink],
  ['deall', triggers.names],
  ['disca', triggers.names],
  ['close', triggers.portals],
  ['decla', triggers.portals],
]
const wordBytes = 5

/** How far the window may move when its last byte is this one. */
const shifts = new Uint8Array(256).fill(wordBytes)
for (const [word] of words) {
  for (let index = 0; index < wordBytes - 1; index++) {
    const shift = wordBytes - 1 - index
    const code = word.charCodeAt(index)
    for (const byte of [code, word.toUpperCase().charCodeAt(index)]) {
      shifts[byte] = Math.min(shifts[byte]!, shift)
    }
  }
}
/** Whether a word ends with this byte, as a bit per word. */
const endings = new Uint8Array(256)
words.forEach(([word], index) => {
  const code = word.charCodeAt(wordBytes - 1)
  endings[code] = endings[code]! | (1 << index)
  const upper = word.toUpperCase().charCodeAt(wordBytes - 1)
  if (upper !== code) endings[upper] = endings[upper]! | (1 << index)
})
const codes = words.map(([word]) => [...Buffer.from(word)])

/** The triggers in `buffer[start, end)`, as bits. */
export function findTriggers(buffer: Buffer, start: number, end: number): number {
  let found = 0
  let last = start + wordBytes - 1
  while (last < end) {
    const byte = buffer[last]!
    let candidates = endings[byte]!
    for (let index = 0; candidates !== 0; index++, candidates >>= 1) {
      if ((candidates & 1) !== 0 && matches(buffer, last - wordBytes + 1, codes[index]!)) {
        found |= words[index]![1]
      }
    }
    last += shifts[byte]!
  }
  return found
}

function matches(buffer: Buffer, at: number, word: readonly number[]): boolean {
  for (let index = 0; index < wordBytes; index++) {
    const byte = buffer[at + index]!
    const folded = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    if (folded !== word[index]) return false
  }
  return true
}
