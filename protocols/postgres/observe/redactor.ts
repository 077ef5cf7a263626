/**
 * Takes credentials out of SQL before anything is written down: what follows the word PASSWORD as a literal
 * (any of '…', E'…', U&'…', "$tag$…$tag$"), also inside DO bodies and inside literals that hold SQL, the
 * value after `password=` in a connection string, and what follows `postgresql://`. Where a text builds its
 * SQL (`format('… PASSWORD %L', …)`, `'… PASSWORD ' || …`), the literals up to the end of that statement go too.
 *
 * It follows PostgreSQL's lexer (src/backend/parser/scan.l) as far as where literals, comments and quoted
 * names begin and end, byte by byte, so that a text may come in any pieces. In doubt it takes out more.
 */

import { LiteralContent, verdicts } from './redactor-literal.ts'
import { isSpace, isWord, Words } from './redactor-words.ts'

const mark = Buffer.from('[redacted]')
const quoteMark = Buffer.from("'")

const code = (text: string): number => text.charCodeAt(0)
const [apostrophe, quote, backslash, dollar] = [0x27, 0x22, 0x5c, 0x24]
const [slash, star, dash, newline] = [0x2f, 0x2a, 0x2d, 0x0a]
const [equals, semicolon, colon, ampersand] = [0x3d, 0x3b, 0x3a, 0x26]

const modes = {
  sql: 0,
  lineComment: 1,
  blockComment: 2,
  quotedName: 3,
  literal: 4,
  /** An apostrophe was seen in a literal: its end, or the first half of a doubled one. */
  literalQuote: 5,
  dollarTag: 6,
  /** Inside a dollar-quoted credential. */
  dollarSecret: 7,
} as const

/** The value after `password=`. */
const values = { none: 0, expected: 1, bare: 2 } as const

const tagBytesMax = 64

export type WriteBytes = (bytes: Buffer, start: number, end: number) => void

export class Redactor {
  readonly #plainBackslashes: boolean
  #mode: number = modes.sql
  #previous = 0
  #depth = 0
  readonly #words = new Words()
  /** The last token announced a credential. */
  #after = false
  /** `after` as it was before the current word or sign. */
  #before = false
  /** Up to the end of this statement, every literal may be a credential. */
  #rest = false
  #escapes = false
  #escaped = false
  /** The tag of the dollar-quoted text we are in, with both dollars; undefined outside. */
  #outer: Buffer | undefined
  #outerMatched = 0
  readonly #tag = Buffer.alloc(tagBytesMax)
  #tagLength = 0
  #secretTag: Buffer | undefined
  #secretMatched = 0
  /** Of a connection string in a dollar-quoted text. */
  #value: number = values.none
  readonly #inside = new LiteralContent()
  #addressSigns = 0
  #isSign = false
  /** Bytes are left out just now. */
  #hiding = false
  #literalHidden = false
  #runStart = 0
  #write: WriteBytes = () => {}
  #bytes: Buffer = mark
  /** Whether anything was taken out so far. */
  redacted = false

  /** `plainBackslashes`: standard_conforming_strings is off, '…' knows backslash escapes. */
  constructor(options: { plainBackslashes: boolean }) {
    this.#plainBackslashes = options.plainBackslashes
  }

  /** Passes the next piece of the text on to `write`, without credentials. */
  push(bytes: Buffer, start: number, end: number, write: WriteBytes): void {
    this.#bytes = bytes
    this.#write = write
    this.#runStart = start
    for (let at = start; at < end; at++) {
      const byte = bytes[at]!
      if (this.#outer !== undefined && this.#closesOuter(byte, at)) {
        this.#previous = 0
        continue
      }
      const previous = this.#previous
      this.#previous = byte
      this.#step(byte, previous, at)
    }
    if (!this.#hiding && this.#runStart < end) write(bytes, this.#runStart, end)
    this.#runStart = 0
  }

  /** The text is over. */
  finish(write: WriteBytes): void {
    if (this.#hiding && this.#mode === modes.literalQuote) write(quoteMark, 0, 1)
  }

  /** Leaves out what comes from `at` on. */
  #hide(at: number): void {
    this.redacted = true
    if (this.#hiding) return
    if (this.#runStart < at) this.#write(this.#bytes, this.#runStart, at)
    this.#write(mark, 0, mark.length)
    this.#hiding = true
  }

  /** Shows what comes from `at` on. */
  #show(at: number): void {
    if (!this.#hiding) return
    this.#hiding = false
    this.#runStart = at
  }

  #step(byte: number, previous: number, at: number): void {
    switch (this.#mode) {
      case modes.sql:
        this.#sql(byte, previous, at)
        break
      case modes.lineComment:
        if (byte === newline) this.#mode = modes.sql
        break
      case modes.blockComment:
        this.#blockComment(byte, previous)
        break
      case modes.quotedName:
        if (byte !== quote) {
          this.#words.add(byte)
        } else {
          this.#after = this.#words.announcesPassword
          this.#words.reset()
          this.#mode = modes.sql
        }
        break
      case modes.literal:
        this.#literal(byte, previous, at)
        break
      case modes.literalQuote:
        if (byte === apostrophe) {
          this.#mode = modes.literal
          this.#content(byte, previous, at)
        } else {
          this.#closeLiteral(at)
          this.#sql(byte, previous, at)
        }
        break
      case modes.dollarTag:
        this.#dollarTag(byte, previous, at)
        break
      default:
        this.#secretMatched = advanceTag(this.#secretTag!, this.#secretMatched, byte)
        if (this.#secretMatched === this.#secretTag!.length) {
          this.#show(at + 1)
          this.#write(this.#secretTag!, 0, this.#secretTag!.length)
          this.#mode = modes.sql
        }
    }
  }

  #sql(byte: number, previous: number, at: number): void {
    const words = this.#words
    if (isWord(byte) || (byte === dollar && words.length > 0)) {
      if (words.length === 0) this.#before = this.#after
      words.add(byte)
      if (this.#value === values.expected) this.#bareValue(at)
      return
    }
    const wordLength = words.length
    if (this.#outer !== undefined) this.#address(byte)
    if (wordLength > 0) {
      this.#after = words.announcesPassword
      words.reset()
    }
    if (this.#value === values.bare && isSpace(byte)) {
      this.#value = values.none
      this.#show(at)
    }
    switch (byte) {
      case apostrophe:
        this.#openLiteral(wordLength)
        return
      case quote:
        this.#mode = modes.quotedName
        return
      case dollar:
        this.#mode = modes.dollarTag
        this.#tag[0] = dollar
        this.#tagLength = 1
        return
      case star:
        if (previous === slash) {
          this.#mode = modes.blockComment
          this.#depth = 1
          this.#previous = 0
          this.#after = this.#before
        }
        return
      case dash:
        if (previous === dash) {
          this.#mode = modes.lineComment
          this.#after = this.#before
          return
        }
        break
      case equals:
        // In a dollar-quoted text this may be a connection string.
        if (this.#after && this.#outer !== undefined) this.#value = values.expected
        break
      case ampersand:
        // U&'…': the sign belongs to the literal.
        if (wordLength === 1 && words.first === code('u')) {
          this.#after = this.#before
          return
        }
        break
      case semicolon:
        this.#rest = false
        break
      default:
        if (isSpace(byte)) return
    }
    this.#before = this.#after
    this.#after = false
    if (byte === equals || this.#isSign) this.#isSign = false
    else if (this.#value === values.expected) this.#bareValue(at)
  }

  /** Looks for `postgresql://`, also in a dollar-quoted text. */
  #address(byte: number): void {
    if (this.#words.announcesAddress && byte === colon) this.#addressSigns = 1
    else if (this.#addressSigns > 0)
      this.#addressSigns = byte === slash ? this.#addressSigns + 1 : 0
    if (this.#addressSigns < 3) return
    this.#addressSigns = 0
    this.#value = values.expected
    // Not to be taken for the value itself.
    this.#isSign = true
  }

  #bareValue(at: number): void {
    this.#value = values.bare
    this.#hide(at)
  }

  #blockComment(byte: number, previous: number): void {
    if (byte === slash && previous === star) this.#depth--
    else if (byte === star && previous === slash) this.#depth++
    else return
    // A sign counts once: the end of a comment is not the beginning of the next.
    this.#previous = 0
    if (this.#depth === 0) this.#mode = modes.sql
  }

  /** `prefix`: length of the word that touches the apostrophe. */
  #openLiteral(prefix: number): void {
    const letter = prefix === 1 ? this.#words.first : 0
    if (letter !== 0 && 'ebxnu'.includes(String.fromCharCode(letter))) this.#after = this.#before
    this.#escapes = this.#plainBackslashes || letter === code('e')
    this.#escaped = false
    this.#mode = modes.literal
    this.#inside.reset(this.#outer !== undefined)
    this.#literalHidden = this.#after || this.#rest || this.#value === values.expected
    this.#value = values.none
  }

  #literal(byte: number, previous: number, at: number): void {
    if (this.#escaped) {
      this.#escaped = false
      this.#content(byte, previous, at)
    } else if (byte === backslash && this.#escapes) {
      this.#escaped = true
      if (this.#literalHidden) this.#hide(at)
    } else if (byte === apostrophe) {
      this.#mode = modes.literalQuote
    } else {
      this.#content(byte, previous, at)
    }
  }

  /** One byte of a literal's content, escapes undone. */
  #content(byte: number, previous: number, at: number): void {
    const verdict = this.#literalHidden ? verdicts.hide : this.#inside.step(byte, previous)
    if (verdict === verdicts.hide) this.#hide(at)
    else if (verdict === verdicts.show) this.#show(at)
  }

  #closeLiteral(at: number): void {
    if (this.#hiding) {
      this.#show(at)
      this.#write(quoteMark, 0, 1)
    }
    if (this.#inside.finish()) this.#rest = true
    this.#mode = modes.sql
    // A literal goes on after a newline: 'a' \n 'b'.
    this.#after = this.#literalHidden
    this.#before = this.#after
  }

  #dollarTag(byte: number, previous: number, at: number): void {
    if (byte === dollar) {
      this.#tag[this.#tagLength++] = dollar
      const tag = Buffer.from(this.#tag.subarray(0, this.#tagLength))
      if (this.#after || this.#rest || this.#value === values.expected) {
        this.#value = values.none
        this.#secretTag = tag
        this.#secretMatched = 0
        this.#mode = modes.dollarSecret
        this.#hide(at + 1)
        return
      }
      this.#mode = modes.sql
      if (this.#outer === undefined) {
        this.#outer = tag
        this.#outerMatched = 0
      }
      return
    }
    const digitFirst = this.#tagLength === 1 && byte >= 0x30 && byte <= 0x39
    if (!isWord(byte) || digitFirst || this.#tagLength >= tagBytesMax - 1) {
      // A parameter ($1) or a stray dollar. A parameter after PASSWORD is a credential itself.
      if (this.#after || this.#rest) this.redacted = true
      this.#mode = modes.sql
      this.#after = false
      this.#sql(byte, previous, at)
      return
    }
    this.#tag[this.#tagLength++] = byte
  }

  /** Whatever the text inside looks like, the first closing tag ends a dollar-quoted text. */
  #closesOuter(byte: number, at: number): boolean {
    const outer = this.#outer!
    this.#outerMatched = advanceTag(outer, this.#outerMatched, byte)
    if (this.#outerMatched < outer.length) return false
    if (this.#hiding) {
      this.#show(at + 1)
      this.#write(outer, 0, outer.length)
    }
    // `$$host=h password=$$ || '…'`
    if (this.#value === values.expected) this.#rest = true
    this.#outer = undefined
    this.#words.reset()
    this.#mode = modes.sql
    this.#value = values.none
    this.#after = false
    return true
  }
}

function advanceTag(tag: Buffer, matched: number, byte: number): number {
  if (tag[matched] === byte) return matched + 1
  return byte === dollar ? 1 : 0
}
