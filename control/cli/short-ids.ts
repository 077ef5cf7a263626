/**
 * The same number of first characters for each id, at least eight, so that they tell these ids apart. (Ids that
 * begin with their time share many characters.)
 */
export function shortIds(ids: readonly string[]): (id: string) => string {
  const distinct = new Set(ids)
  let length = 8
  while (
    length < 36 &&
    new Set([...distinct].map((id) => id.slice(0, length))).size < distinct.size
  ) {
    length += 1
  }
  // A prefix that ends with a hyphen says no more than one without.
  return (id) => id.slice(0, length).replace(/-$/, '')
}

/** Whole ids, one a line, for a shell that goes on with them. */
export function idLines(items: readonly { readonly id: string }[]): string {
  return items.map(({ id }) => id).join('\n')
}
