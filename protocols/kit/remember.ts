/** Longer texts are computed each time: nobody fills memory with them. */
const textCharactersMax = 256

/**
 * `compute`, which depends on its text alone, once for each of the texts in use: `entriesMax` at a time, after which all are forgotten.
 * For what a hot path asks about the same few texts again and again.
 */
export function remember<T extends object | string | number | boolean>(
  compute: (text: string) => T,
  entriesMax: number,
): (text: string) => T {
  const known = new Map<string, T>()
  return (text) => {
    const found = known.get(text)
    if (found !== undefined) return found
    const made = compute(text)
    if (text.length > textCharactersMax) return made
    // A part of a text keeps the whole of it in memory: what is kept is a copy. A text that UTF-8 does not have is kept by none.
    const own = Buffer.from(text).toString()
    if (own !== text) return made
    if (known.size >= entriesMax) known.clear()
    known.set(own, made)
    return made
  }
}
