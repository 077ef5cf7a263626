/** What a terminal showed, as lines of text: for search, and for where there is no terminal to show it on. */
import { TerminalScanner } from './scan-terminal.ts'

/** Sequences that go elsewhere on the screen: what is written there is another text. */
const moves = new Set('ABEFHSTdfJLMr')
/** Sequences that go on in the same line. */
const gaps = new Set('CGIXa`@P')

/** One line that was being typed over may be taken back so far. */
const backMax = 4_096

export class PlainOutput {
  readonly #decoder = new TextDecoder()
  readonly #scanner: TerminalScanner
  #out = ''
  /** A carriage return that may be half of a line end. */
  #returned = false

  constructor() {
    const line = (): void => {
      if (this.#out !== '' && !this.#out.endsWith('\n')) this.#out += '\n'
    }
    const gap = (): void => {
      if (this.#out !== '' && !/\s$/.test(this.#out.slice(-1))) this.#out += ' '
    }
    this.#scanner = new TerminalScanner({
      text: (text) => {
        if (this.#returned) line()
        this.#returned = false
        this.#out += text
      },
      control: (character) => {
        if (character === '\r') {
          this.#returned = true
          return
        }
        this.#returned = false
        if (character === '\n' || character === '\u000b' || character === '\f') this.#out += '\n'
        else if (character === '\t') this.#out += '\t'
        else if (character === '\b' && !this.#out.slice(-1).includes('\n')) {
          if (this.#out.length <= backMax || this.#out.length > 0)
            this.#out = this.#out.slice(0, -1)
        }
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
    this.#out = ''
    this.#scanner.feed(this.#decoder.decode(bytes, { stream: true }))
    return this.#out
  }
}
