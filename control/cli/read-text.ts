import { readFileSync, statSync } from 'node:fs'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { readInput } from './read-input.ts'

/** A file as UTF-8, or standard input for `-`. Rejects with `usage` if it is longer than `bytesMax`. */
export async function readText(fileName: string, bytesMax: number): Promise<string> {
  if (fileName === '-') return readInput(bytesMax)
  if (statSync(fileName).size > bytesMax) {
    throw new SallyportError('usage', `${fileName} is too large`, {
      clientMessage: `${fileName} is larger than ${bytesMax} bytes`,
    })
  }
  return readFileSync(fileName, 'utf8')
}
