/**
 * Takes what a program wrote to a terminal apart into text, controls and sequences (ECMA-48; Williams' state machine of the VT500
 * parser). Keeps its place between chunks, holds at most one sequence, and believes nothing.
 */

/** What the scanner hands on, in order. */
export interface TerminalSink {
  /** Characters that are shown. */
  text(text: string): void
  /** One character of C0, or DEL; also from within a sequence, as terminals do it. */
  control(character: string): void
  /** `ESC intermediates final`, also where it came as one character of C1. */
  escape(intermediates: string, final: string): void
  /** `CSI prefix parameters intermediates final`; prefix is one of `<=>?`, or ''. */
  csi(prefix: string, parameters: string, intermediates: string, final: string): void
}

/** A sequence longer than this is none: dropped to its end. */
const sequenceCharactersMax = 256

// oxlint-disable-next-line no-control-regex
const notText = /[\u0000-\u001f\u007f-\u009f]/g
const csiForm = /^([<=>?]?)([0-9:;]*)([ -/]*)$/

type State = 'text' | 'escape' | 'csi' | 'string'

export class TerminalScanner {
  readonly #sink: TerminalSink
  #state: State = 'text'
  #held = ''
  /** Within a string, after an ESC that may begin its end. */
  #escaped = false

  constructor(sink: TerminalSink) {
    this.#sink = sink
  }

  feed(text: string): void {
    for (let at = 0; at < text.length;) {
      if (this.#state === 'text') {
        notText.lastIndex = at
        const end = notText.exec(text)?.index ?? text.length
        if (end > at) this.#sink.text(text.slice(at, end))
        if (end === text.length) return
        at = end
      }
      this.#character(text[at]!)
      at += 1
    }
  }

  #character(character: string): void {
    const code = character.charCodeAt(0)
    if (this.#state === 'string') {
      this.#inString(character, code)
    } else if (code === 0x1b) {
      this.#begin('escape')
    } else if (code === 0x18 || code === 0x1a) {
      this.#state = 'text'
    } else if (code < 0x20 || code === 0x7f) {
      this.#sink.control(character)
    } else if (code >= 0x80 && code <= 0x9f) {
      this.#final(String.fromCharCode(code - 0x40), '')
    } else if (this.#state === 'escape') {
      this.#inEscape(character, code)
    } else {
      this.#inCsi(character, code)
    }
  }

  #begin(state: State): void {
    this.#state = state
    this.#held = ''
    this.#escaped = false
  }

  #hold(character: string): void {
    if (this.#held.length < sequenceCharactersMax) this.#held += character
  }

  #inEscape(character: string, code: number): void {
    if (code <= 0x2f) this.#hold(character)
    else this.#final(character, this.#held)
  }

  #final(final: string, intermediates: string): void {
    this.#begin('text')
    if (intermediates === '' && final === '[') this.#state = 'csi'
    // DCS, SOS, OSC, PM, APC: nothing of them is ever handed on.
    else if (intermediates === '' && 'PX]^_'.includes(final)) this.#state = 'string'
    else if (final <= '~') this.#sink.escape(intermediates, final)
  }

  #inCsi(character: string, code: number): void {
    if (code < 0x40) {
      this.#hold(character)
      return
    }
    this.#state = 'text'
    if (this.#held.length >= sequenceCharactersMax || code > 0x7e) return
    const form = csiForm.exec(this.#held)
    if (form !== null) this.#sink.csi(form[1]!, form[2]!, form[3]!, character)
  }

  /** To BEL or ST; CAN and SUB give it up, and so does any other sequence. */
  #inString(character: string, code: number): void {
    if (this.#escaped && code !== 0x5c) {
      this.#begin('escape')
      this.#character(character)
    } else if (code === 0x1b) {
      this.#escaped = true
    } else if (this.#escaped || code === 0x07 || code === 0x18 || code === 0x1a || code === 0x9c) {
      this.#begin('text')
    }
  }
}
