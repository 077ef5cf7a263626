/** `*` is any text without a slash, `**` any text. Without regular expressions, which whoever chooses the text could make run for minutes. */
export type Glob = readonly number[]

const star = -1
const deepStar = -2
const slash = 0x2f

export function compileGlob(glob: string): Glob {
  return glob
    .split(/(\*\*|\*)/)
    .flatMap((part) =>
      part === '**'
        ? [deepStar]
        : part === '*'
          ? [star]
          : Array.from({ length: part.length }, (_, at) => part.charCodeAt(at)),
    )
}

/**
 * Whether a glob is all of a text. Of each kind only the last star needs to be given more: an earlier one could only come to the same place later. At
 * worst as many steps as the square of the text's length.
 */
export function matchesGlob(glob: Glob, text: string): boolean {
  let at = 0
  let next = 0
  let starNext = -1
  let starAt = 0
  let deepNext = -1
  let deepAt = 0
  for (;;) {
    const token = glob[next]
    if (token === deepStar) {
      deepNext = ++next
      deepAt = at
      starNext = -1
      if (next === glob.length) return true
    } else if (token === star) {
      starNext = ++next
      starAt = at
    } else if (at === text.length) {
      return next === glob.length
    } else if (token === text.charCodeAt(at)) {
      at++
      next++
    } else if (starNext >= 0 && text.charCodeAt(starAt) !== slash) {
      at = ++starAt
      next = starNext
    } else if (deepNext >= 0) {
      at = ++deepAt
      next = deepNext
      starNext = -1
    } else {
      return false
    }
  }
}
