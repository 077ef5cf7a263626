/**
 * Text from a server (statements!) may carry terminal control sequences. Everything that is not plainly
 * printable is shown as an escape: C0, DEL, C1 (a lone U+009B is CSI), line separators, the marks that
 * reorder or hide text (Trojan Source, CVE-2021-42574), and halves of surrogate pairs.
 */
const unsafe =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Surrogate}|[\u{e0000}-\u{e007f}]/gu

const short: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** One line that is safe on a terminal. */
export function printable(text: string): string {
  return text.replace(unsafe, escapeCharacter)
}

/** The same, but line feeds stay: for messages of several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

function escapeCharacter(character: string): string {
  const known = short[character]
  if (known !== undefined) return known
  const point = character.codePointAt(0) ?? 0
  if (point <= 0x7f) return `\\x${point.toString(16).padStart(2, '0')}`
  return point <= 0xffff
    ? `\\u${point.toString(16).padStart(4, '0')}`
    : `\\u{${point.toString(16)}}`
}

/** JSON that is safe on a terminal too: the same value, with the unsafe characters as `\uXXXX`. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(unsafe, (character) => {
    if (character === '\n') return character
    let escaped = ''
    for (let unit = 0; unit < character.length; unit++) {
      escaped += `\\u${character.charCodeAt(unit).toString(16).padStart(4, '0')}`
    }
    return escaped
  })
}
