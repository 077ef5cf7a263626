/**
 * Text that PostgreSQL takes: its `text` and `jsonb` refuse NUL and half a surrogate pair. Both are replaced by what a
 * person sees (U+2400, U+FFFD); the payload keeps the bytes. Searches must clean what they look for the same way.
 */
export function cleanText(text: string): string {
  const whole = text.isWellFormed() ? text : text.toWellFormed()
  return whole.includes('\0') ? whole.replaceAll('\0', '\u2400') : whole
}

/** The first `charactersMax` characters, never half of a pair; a cut is marked with an ellipsis. */
export function cutText(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text
  return `${text.slice(0, charactersMax - 1).toWellFormed()}…`
}
