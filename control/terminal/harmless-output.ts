/**
 * Output of another machine, made fit for one's own terminal: what draws is let through, all else is dropped. Dropped is what
 * writes the clipboard, sets titles or colours, prints, makes the terminal answer (the answer would be typed into the shell of
 * whoever looks), or changes what their keys and mouse send. A list of what may pass, so that what is not known does not.
 */
import { TerminalScanner, type TerminalSink } from './scan-terminal.ts'

const controls = new Set('\u0007\b\t\n\u000b\f\r\u000e\u000f')
/** Save and restore, index, next line, tab stop, reverse index, keypad, single shifts. */
const escapes = new Set('78DEHM=>NO')
/** Character sets: which may be designated, and where to. `ESC %` would end UTF-8. */
const designations = /^[()*+]$/
const characterSets = /^[0AB<%4-7=CEHKQRYZ]$/
/** Cursor, erase, insert, delete, scroll, tabs, repeat, colours, region, save and restore. */
const plainFinals = new Set('@ABCDEFGHIJKLMPSTXZ`abdefgmrsu')
/** Insert, and line feed as new line. 2 would lock the keyboard. */
const modes = new Set(['4', '20'])
/**
 * DEC: cursor keys (restored at the end), reverse screen, origin, wrap, blink, cursor shown, the other screen, margins, and
 * drawing at once. Not: 132 columns, mouse, focus, bracketed paste.
 */
const privateModes = new Set([
  ...['1', '5', '6', '7', '12', '25', '45', '47', '66', '69'],
  ...['1047', '1048', '1049', '2026'],
])
/** For a reset (`ESC c`), which would take away what scrolled by before. */
const softReset = '\u001b[!p\u001b[?1049l\u001b[m\u001b[H\u001b[2J'
/** Puts a terminal back as it was: what a recording may leave behind. */
export const restoreTerminal =
  '\u001b[?1l\u001b[?5l\u001b[?6l\u001b[?7h\u001b[?69l\u001b[?1049l\u001b[?25h\u001b[4l\u001b[20l\u001b>\u001b(B\u000f\u001b[r\u001b[m'

export class HarmlessOutput {
  readonly #decoder = new TextDecoder()
  readonly #scanner: TerminalScanner
  #out = ''

  constructor() {
    const pass = (text: string): void => void (this.#out += text)
    this.#scanner = new TerminalScanner(createSink(pass))
  }

  /** Bytes of UTF-8 in any pieces. What is cut off at the end waits for its rest. */
  filter(bytes: Uint8Array): string {
    this.#out = ''
    this.#scanner.feed(this.#decoder.decode(bytes, { stream: true }))
    return this.#out
  }
}

function createSink(pass: (text: string) => void): TerminalSink {
  return {
    text: pass,
    control(character) {
      if (controls.has(character)) pass(character)
    },
    escape(intermediates, final) {
      if (intermediates === '' && final === 'c') pass(softReset)
      const may =
        intermediates === ''
          ? escapes.has(final)
          : intermediates === '#'
            ? /^[34568]$/.test(final)
            : designations.test(intermediates) && characterSets.test(final)
      if (may) pass(`\u001b${intermediates}${final}`)
    },
    csi(prefix, parameters, intermediates, final) {
      const may = parameters.split(/[;:]/).every((parameter) => parameter.length <= 5)
      const left = may ? allowed(prefix, parameters, intermediates, final) : undefined
      if (left !== undefined) pass(`\u001b[${prefix}${left}${intermediates}${final}`)
    },
  }
}

/** The parameters that may pass; undefined if the sequence may not. */
function allowed(
  prefix: string,
  parameters: string,
  intermediates: string,
  final: string,
): string | undefined {
  if (intermediates !== '') {
    // Shape of the cursor, and the soft reset.
    const may = prefix === '' && (intermediates + final === ' q' || intermediates + final === '!p')
    return may ? parameters : undefined
  }
  if (prefix === '?' && (final === 'J' || final === 'K')) return parameters
  if (final === 'h' || final === 'l') {
    const known = prefix === '?' ? privateModes : prefix === '' ? modes : undefined
    const kept = parameters.split(';').filter((mode) => known?.has(mode) === true)
    return kept.length > 0 ? kept.join(';') : undefined
  }
  if (prefix !== '' || !plainFinals.has(final)) return undefined
  // What scrolled away before belongs to whoever looks.
  if (final === 'J' && parameters === '3') return undefined
  // Repeating may not take longer than a screen does.
  if (final === 'b' && Number(parameters) > 10_000) return undefined
  return parameters
}
