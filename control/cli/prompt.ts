/** Questions to a person at a terminal. Answers go over standard error, so that standard output stays the answer. */
import { createInterface } from 'node:readline/promises'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Cli } from './cli.ts'

/** True for "y" or "yes"; anything else, also the end of input, is a no. */
export async function confirm(cli: Cli, question: string): Promise<boolean> {
  if (!cli.interactive) return false
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')))
    const answer = await Promise.race([lines.question(`${question} [y/N] `), ended])
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    lines.close()
  }
}

/** A line that is typed without being shown. Rejects with `usage` when Ctrl-C ends it. */
export function readHidden(cli: Cli, question: string): Promise<string> {
  const input = process.stdin
  // Before the question, so that nothing is shown of what is typed at once.
  input.setRawMode(true)
  cli.writeError(question)
  input.setEncoding('utf8')
  return new Promise((resolve, reject) => {
    let typed = ''
    const finish = (): void => {
      input.off('data', read)
      input.setRawMode(false)
      input.pause()
      cli.writeError('\n')
    }
    const read = (text: string): void => {
      for (const character of text) {
        if (character === '\r' || character === '\n' || character === '\u0004') {
          finish()
          resolve(typed)
          return
        }
        if (character === '\u0003') {
          finish()
          reject(
            new SallyportError('usage', 'interrupted', {
              clientMessage: 'interrupted; nothing was changed',
            }),
          )
          return
        }
        if (character === '\u007f' || character === '\b')
          typed = Array.from(typed).slice(0, -1).join('')
        else typed += character
      }
    }
    input.on('data', read)
    input.resume()
  })
}
