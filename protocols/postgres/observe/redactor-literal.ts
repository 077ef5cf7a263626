import { isSpace, isWord, Words } from './redactor-words.ts'

const code = (text: string): number => text.charCodeAt(0)
const [apostrophe, backslash, dollar, slash, dash] = [0x27, 0x5c, 0x24, 0x2f, 0x2d]
const [equals, percent, colon, ampersand] = [0x3d, 0x25, 0x3a, 0x26]

/** What becomes of the output at a byte of a literal: nothing new, leave out from here, show from here. */
export const verdicts = { none: 0, hide: 1, show: 2 } as const

const values = { none: 0, expected: 1, bare: 2, opening: 3, quoted: 4 } as const

/**
 * Looks for credentials in the content of one literal: a connection string, an address, or SQL that holds
 * literals of its own. Steps over content bytes: doubled apostrophes arrive as one, escapes undone.
 */
export class LiteralContent {
  readonly #words = new Words()
  /** The last word announced a credential. */
  #after = false
  #before = false
  /** Somebody puts SQL together here, so that what follows the literal may be the credential. */
  #buildsSql = false
  /** The next literals of the statement may be credentials. */
  #restHidden = false
  #hidden = false
  #addressSigns = 0
  #value: number = values.none
  /** Apostrophes that opened the value (more than one: a literal in a literal), and those just seen. */
  #opened = 0
  #run = 0

  reset(insideBody: boolean): void {
    this.#words.reset()
    this.#after = this.#before = this.#restHidden = this.#hidden = false
    this.#buildsSql = insideBody
    this.#addressSigns = 0
    this.#value = values.none
  }

  /** The literal is over. True: the literals after it, up to the end of the statement, may be credentials. */
  finish(): boolean {
    const announces = this.#words.announcesPassword || this.#after
    // `'host=h password=' || '…'`: the value comes from somewhere else.
    const opens = this.#value === values.expected || this.#value === values.opening
    return this.#restHidden || opens || (announces && this.#buildsSql)
  }

  /** A verdict for this byte. */
  step(byte: number, previous: number): number {
    if (this.#hidden) return verdicts.hide
    if (this.#value !== values.none) {
      const verdict = this.#inValue(byte, previous)
      if (verdict !== verdicts.show || this.#value !== values.none || byte === apostrophe) {
        return verdict
      }
      this.#follow(byte)
      return verdict
    }
    return this.#follow(byte)
  }

  #follow(byte: number): number {
    const words = this.#words
    if (isWord(byte)) {
      if (words.length === 0) this.#before = this.#after
      words.add(byte)
      this.#addressSigns = 0
      return verdicts.none
    }
    if (words.length > 0) {
      const prefix = words.length === 1 && (words.first === code('e') || words.first === code('u'))
      this.#after = words.announcesPassword || (prefix && this.#before)
      if (words.announcesAddress && byte === colon) this.#addressSigns = 1
      if (words.startsCommand) this.#buildsSql = true
      words.reset()
    } else if (this.#addressSigns > 0) {
      this.#addressSigns = byte === slash ? this.#addressSigns + 1 : 0
      if (this.#addressSigns === 3) {
        this.#addressSigns = 0
        this.#value = values.expected
      }
    }
    if (!this.#after || isSpace(byte)) return verdicts.none
    if (byte !== ampersand) this.#after = false
    if (byte === equals) {
      this.#value = values.expected
    } else if (byte === apostrophe) {
      this.#openValue()
    } else if (byte === percent) {
      this.#restHidden ||= this.#buildsSql
    } else if (byte === dollar || byte === slash || byte === dash) {
      // Another way of quoting, or a comment: not worth telling apart in here.
      this.#hidden = true
      return verdicts.hide
    }
    return verdicts.none
  }

  #openValue(): void {
    this.#value = values.opening
    this.#opened = 1
    this.#run = 0
  }

  #inValue(byte: number, previous: number): number {
    switch (this.#value) {
      case values.expected:
        if (isSpace(byte)) return verdicts.none
        if (byte === apostrophe) {
          this.#openValue()
          return verdicts.none
        }
        this.#value = values.bare
        // `password=%s` of a format.
        if (byte === percent) this.#restHidden = true
        return verdicts.hide
      case values.bare:
        if (!isSpace(byte)) return verdicts.hide
        this.#value = values.none
        return verdicts.show
      case values.opening:
        if (byte === apostrophe) {
          this.#opened++
          return verdicts.none
        }
        this.#value = values.quoted
        return verdicts.hide
      default:
        if (byte === apostrophe && previous !== backslash) {
          this.#run++
          return verdicts.hide
        }
        if (this.#run % (2 * this.#opened) === 0) {
          this.#run = 0
          return verdicts.hide
        }
        this.#value = values.none
        return verdicts.show
    }
  }
}
