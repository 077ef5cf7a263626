/**
 * The line of a terminal that the cursor is on, as far as a shell's line editing needs it: printing, backspace, carriage return, moves
 * within the line, erasing, inserting and deleting (ECMA-48). Full-screen programs are only recognised, by the alternate screen they switch to.
 */
import { StringDecoder } from 'node:string_decoder'

const columnsMax = 8 * 1024
const sequenceMax = 256

export class ScreenLine {
  readonly #decoder = new StringDecoder('utf8')
  readonly #onLine: (line: string) => void
  #cells: string[] = []
  #column = 0
  #sequence = ''
  #isAlternate = false

  /** @param onLine told what the line holds when the cursor leaves it. */
  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  get column(): number {
    return this.#column
  }

  get text(): string {
    return this.#cells.join('')
  }

  /** A full-screen program has the screen. */
  get isAlternate(): boolean {
    return this.#isAlternate
  }

  push(bytes: Buffer): void {
    for (const character of this.#decoder.write(bytes)) this.#take(character)
  }

  #take(character: string): void {
    if (this.#sequence !== '') return this.#continue(character)
    switch (character) {
      case '\u001b':
        this.#sequence = character
        return
      case '\n':
      case '\u000b':
      case '\u000c':
        this.#leave()
        return
      case '\r':
        this.#column = 0
        return
      case '\b':
        this.#column = Math.max(0, this.#column - 1)
        return
      case '\t':
        this.#column = Math.min(columnsMax, (Math.floor(this.#column / 8) + 1) * 8)
        return
      default:
        if (character >= ' ' && character !== '\u007f') this.#print(character)
    }
  }

  #print(character: string): void {
    if (this.#column >= columnsMax) return
    while (this.#cells.length < this.#column) this.#cells.push(' ')
    this.#cells[this.#column] = character
    this.#column += 1
  }

  #leave(): void {
    const line = this.text
    this.#cells = []
    this.#column = 0
    this.#onLine(line)
  }

  /** ECMA-48, 5.4: control sequences; and the strings of 5.6, which are passed over. */
  #continue(character: string): void {
    const sequence = (this.#sequence += character)
    const introducer = sequence[1]!
    if (introducer === '[') {
      if (sequence.length > 2 && character >= '@' && character <= '~') {
        this.#sequence = ''
        this.#control(sequence.slice(2, -1), character)
      }
    } else if (']PX^_'.includes(introducer)) {
      const isOver = character === '\u0007' || sequence.endsWith('\u001b\\')
      if (isOver && sequence.length > 2) this.#sequence = ''
      // However long such a string is, only its beginning and its last character are needed.
      else if (sequence.length > sequenceMax) this.#sequence = sequence.slice(0, 2) + character
      return
    } else if (!(introducer >= ' ' && introducer <= '/') || sequence.length > 2) {
      this.#sequence = ''
    }
    if (this.#sequence.length > sequenceMax) this.#sequence = ''
  }

  #control(parameters: string, final: string): void {
    const first = Math.min(columnsMax, Number.parseInt(parameters, 10) || 0)
    const count = Math.max(1, first)
    switch (final) {
      case 'C':
        this.#column = Math.min(columnsMax, this.#column + count)
        return
      case 'D':
        this.#column = Math.max(0, this.#column - count)
        return
      case 'G':
        this.#column = count - 1
        return
      case 'K':
        if (first === 0) this.#cells.length = Math.min(this.#cells.length, this.#column)
        else if (first === 2) this.#cells = []
        return
      case 'P':
        this.#cells.splice(this.#column, count)
        return
      case '@':
        this.#cells.splice(this.#column, 0, ...Array<string>(Math.min(count, 512)).fill(' '))
        this.#cells.length = Math.min(this.#cells.length, columnsMax)
        return
      case 'J':
        this.#cells.length = Math.min(this.#cells.length, this.#column)
        return
      case 'H':
        // The screen is cleared, or a program places its text: what was typed is elsewhere now.
        this.#cells = []
        this.#column = 0
        return
      case 'h':
      case 'l':
        if (/^\?(?:47|1047|1049)$/.test(parameters)) this.#isAlternate = final === 'h'
    }
  }
}
