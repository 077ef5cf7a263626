/** Which exec lines a resource takes: globs over the whole line, as a shell would read it. */
import type { SshTerms } from '../../session.ts'

/**
 * What a shell makes more of than an argument. `*` and `?` of an allowing pattern do not match these, so that
 * `systemctl status *` lets no `x; rm -rf /` through; a pattern that has one means it.
 */
const shellCharacters = /[\n\r;&|<>`$(){}\\'"!#~*?[\]\0]/

export type CommandDecision = 'allowed' | 'denied' | 'not-among-allowed'

type Rules = Pick<SshTerms, 'allow' | 'deny'>

/** `deny` comes first; there a `*` is any text at all, over lines too. */
export function decideCommand(line: string, { allow, deny }: Rules): CommandDecision {
  if (deny.some((pattern) => matches(pattern, line, () => true))) return 'denied'
  if (allow === undefined) return 'allowed'
  const plain = (character: string): boolean => !shellCharacters.test(character)
  const isAllowed = allow.some((pattern) => matches(pattern, line, plain))
  return isAllowed ? 'allowed' : 'not-among-allowed'
}

/**
 * Whether a pattern is the line from end to end. Goes back to the last `*` only, so a long line costs no more than its length times
 * the pattern's.
 */
function matches(pattern: string, line: string, wild: (character: string) => boolean): boolean {
  let [at, from] = [0, 0]
  /** Behind the last `*`, and up to where it reaches. */
  let star = -1
  let reach = 0
  while (from < line.length) {
    const wanted = pattern[at]
    if (wanted === '*') {
      star = ++at
      reach = from
    } else if (wanted === line[from] || (wanted === '?' && wild(line[from]!))) {
      at++
      from++
    } else if (star >= 0 && wild(line[reach]!)) {
      at = star
      from = ++reach
    } else return false
  }
  while (pattern[at] === '*') at++
  return at === pattern.length
}
