export class ShellSyntaxError extends Error {}

const commandsMax = 32
const wordsMax = 64

export interface Step {
  readonly words: readonly string[]
  /** After `&&`: only if the one before ended with 0. */
  readonly needsSuccess: boolean
}

/**
 * Takes a line apart: words with quotes and backslashes, commands between `;` and `&&`. There are no pipes, variables, patterns or files to
 * write to, and whoever uses them is told so.
 * @throws ShellSyntaxError
 */
export function readLine(line: string): Step[] {
  const steps: { words: string[]; needsSuccess: boolean }[] = [{ words: [], needsSuccess: false }]
  const token = /\s+|(&&|;)|((?:'[^']*'|"[^"$`\\]*"|\\[^\n]|[^\s'"\\;&|<>$`(){}*?#])+)/y
  while (token.lastIndex < line.length) {
    const at = token.lastIndex
    const found = token.exec(line)
    if (found === null) {
      throw new ShellSyntaxError(`${JSON.stringify(line[at])} is more than this stand-in knows`)
    }
    const [, separator, word] = found
    const step = steps.at(-1)!
    if (separator !== undefined) {
      if (step.words.length === 0)
        throw new ShellSyntaxError(`a command is missing at ${separator}`)
      steps.push({ words: [], needsSuccess: separator === '&&' })
    } else if (word !== undefined) {
      step.words.push(
        word.replace(/'([^']*)'|"([^"]*)"|\\(.)/g, (_all, one, two, three) =>
          String(one ?? two ?? three),
        ),
      )
    }
    if (steps.length > commandsMax || step.words.length > wordsMax) {
      throw new ShellSyntaxError('the line is too long')
    }
  }
  if (steps.at(-1)!.words.length > 0) return steps
  if (steps.at(-1)!.needsSuccess) throw new ShellSyntaxError('a command is missing at the end')
  return steps.slice(0, -1)
}
