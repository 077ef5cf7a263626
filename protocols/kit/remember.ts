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
    if (known.size >= entriesMax) known.clear()
    known.set(text, made)
    return made
  }
}
