/** What recordings showed, as texts for the search index: in pieces, whole lines together, and no more than is bounded. */
import { PlainOutput } from '../terminal/plain-output.ts'
import { cleanText } from './clean-text.ts'

/** Characters of all output of one recording that are indexed. */
export const indexedOutputMax = 4 * 1024 * 1024
/** One row of the index. */
const rowCharactersMax = 16 * 1024
/** Of a line that goes on, so much is looked at again with what follows. Bytes. */
const tailBytesMax = 1_024

export interface OutputRow {
  readonly sequence: number
  readonly atUs: number
  /** Microseconds since the recording began. */
  readonly recordingAtUs: number
  readonly text: string
}

interface Piece {
  readonly sequence: number
  readonly atUs: number
  readonly recordingAtUs: number
}

/** Collects the output of one recording within one slice of the index. */
export class RecordedText {
  readonly rows: OutputRow[] = []
  characters: number
  readonly #plain = new PlainOutput()
  #tail: Buffer
  #text = ''
  #piece: Piece | undefined

  /** `tail`: what the slice before left. */
  constructor(tail: Buffer, characters: number) {
    this.#tail = tail
    this.characters = characters
    if (characters < indexedOutputMax) this.#text = this.#plain.feed(tail)
  }

  add(bytes: Buffer, piece: Piece): void {
    if (this.characters >= indexedOutputMax) return
    this.#piece ??= piece
    this.#text += this.#plain.feed(bytes)
    this.#keepTail(bytes)
    while (this.#text.length >= rowCharactersMax) {
      const lineEnd = this.#text.lastIndexOf('\n', rowCharactersMax)
      const end = lineEnd > 0 ? lineEnd + 1 : rowCharactersMax
      this.#row(this.#piece, this.#text.slice(0, end))
      this.#text = this.#text.slice(end)
      this.#piece = piece
    }
  }

  #keepTail(bytes: Buffer): void {
    const lineEnd = bytes.lastIndexOf(0x0a)
    const all = lineEnd < 0 ? Buffer.concat([this.#tail, bytes]) : bytes.subarray(lineEnd + 1)
    this.#tail = Buffer.from(all.subarray(Math.max(0, all.length - tailBytesMax)))
  }

  #row(piece: Piece, text: string): void {
    // Not by a pattern: one that looks for the end of a run of blanks begins anew at each of them.
    const lines = text.split('\n').map((line) => line.trimEnd())
    const shown = cleanText(lines.join('\n').trim())
    if (shown === '' || isBinary(shown)) return
    this.characters += shown.length
    this.rows.push({ ...piece, text: shown })
  }

  /** What the next slice begins with. */
  finish(): Buffer {
    if (this.#piece !== undefined) this.#row(this.#piece, this.#text)
    return this.#tail
  }
}

/** Bytes that are no text (a file that went through a command) would only stand between others and what they look for. */
function isBinary(text: string): boolean {
  let unreadable = 0
  for (const character of text) if (character === '\ufffd') unreadable += 1
  return unreadable * 8 > text.length
}
