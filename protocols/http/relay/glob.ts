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

/** So often a star is given more, for each character of the text, before the glob is matched in the other way. */
const retriesPerCharacter = 8

/**
 * Whether a glob is all of a text. Of each kind only the last star needs to be given more: an earlier one could only come to the same place later.
 * That is at once for what people write. For a text that was made to be hard it would take as many steps as the square of its length: then it is
 * matched in as many as the text's length times the glob's.
 */
export function matchesGlob(glob: Glob, text: string): boolean {
  let at = 0
  let next = 0
  let starNext = -1
  let starAt = 0
  let deepNext = -1
  let deepAt = 0
  let retriesLeft = retriesPerCharacter * (text.length + 1)
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
    } else if (retriesLeft-- === 0) {
      return matchesEverywhere(glob, text)
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

/** The same by all the places of the glob that the text so far may lead to. */
export function matchesEverywhere(glob: Glob, text: string): boolean {
  let here = new Uint8Array(glob.length + 1)
  let then = new Uint8Array(glob.length + 1)
  const isStar = (token: number | undefined): boolean => token === star || token === deepStar
  here[0] = 1
  for (let next = 0; isStar(glob[next]); next++) here[next + 1] = 1
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at)
    then.fill(0)
    for (let next = 0; next < glob.length; next++) {
      const token = glob[next]!
      if (isStar(token)) {
        if (here[next] === 1 && (token === deepStar || character !== slash)) then[next] = 1
        // A star may stand for nothing more.
        if (then[next] === 1) then[next + 1] = 1
      } else if (here[next] === 1 && token === character) {
        then[next + 1] = 1
      }
    }
    ;[here, then] = [then, here]
  }
  return here[glob.length] === 1
}
