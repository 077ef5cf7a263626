/** What a terminal showed, as lines of text: for search, and for where there is no terminal to show it on. */
import { TerminalScanner } from './scan-terminal.ts'

/** Sequences that go elsewhere on the screen: what is written there is another text. */
const moves = new Set('ABEFHSTdfJLMr')
/** Sequences that go on in the same line. */
const gaps = new Set('CGIXa`@P')

export class PlainOutput {
  readonly #decoder = new TextDecoder()
  readonly #scanner: TerminalScanner
  /** None is empty. Not one text: what is taken back must not cost as much as all that was there. */
  #pieces: string[] = []
  /** A carriage return that may be half of a line end. */
  #returned = false

  constructor() {
    const line = (): void => {
      if (this.#pieces.length > 0 && !this.#endsLine()) this.#pieces.push('\n')
    }
    const gap = (): void => {
      if (this.#pieces.length > 0 && !/\s/.test(this.#pieces.at(-1)!.slice(-1)))
        this.#pieces.push(' ')
    }
    this.#scanner = new TerminalScanner({
      text: (text) => {
        if (this.#returned) line()
        this.#returned = false
        if (text !== '') this.#pieces.push(text)
      },
      control: (character) => {
        if (character === '\r') {
          this.#returned = true
          return
        }
        this.#returned = false
        if (character === '\n' || character === '\u000b' || character === '\f')
          this.#pieces.push('\n')
        else if (character === '\t') this.#pieces.push('\t')
        else if (character === '\b') this.#takeBack()
      },
      escape: (intermediates, final) => {
        if (intermediates === '' && 'DEMc8'.includes(final)) line()
      },
      csi: (prefix, parameters, _intermediates, final) => {
        const screen = prefix === '?' && /^(?:47|1047|1049)$/.test(parameters)
        if (screen || (prefix === '' && moves.has(final))) line()
        else if (prefix === '' && gaps.has(final)) gap()
      },
    })
  }

  /** The text that these bytes (UTF-8, in any pieces) added. A line end may come with the next ones. */
  feed(bytes: Uint8Array): string {
    this.#pieces = []
    this.#scanner.feed(this.#decoder.decode(bytes, { stream: true }))
    return this.#pieces.join('')
  }

  #endsLine(): boolean {
    return this.#pieces.at(-1)?.endsWith('\n') === true
  }

  /** The last character, of this line only. */
  #takeBack(): void {
    if (this.#endsLine()) return
    const last = this.#pieces.pop()
    if (last !== undefined && last.length > 1) this.#pieces.push(last.slice(0, -1))
  }
}
