import { readFileSync } from 'node:fs'
import { isNode, LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { InvalidInput } from '../control/api/problem.ts'
import { SallyportError } from '../protocols/kit/errors.ts'

/** A configuration file; longer is none. */
const characterMax = 1_000_000

/** Reads a file of YAML against a shape. Throws `config-invalid`, with the place of every mistake. */
export function readYaml<T extends z.ZodType>(file: string, shape: T): z.output<T> {
  const text = readText(file)
  if (text.length > characterMax)
    throw new InvalidInput('config-invalid', `${file} is too long`, [])
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, version: '1.2' })
  const place = (offset: number | undefined) => {
    if (offset === undefined) return {}
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }
  const broken = document.errors.map((error) => ({
    path: '',
    message: error.message.split('\n')[0]!,
    ...place(error.pos[0]),
  }))
  if (broken.length > 0) throw mistakes(file, broken)
  // Aliases multiply: a bounded few are enough for a file that people write.
  const parsed = shape.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {})
  if (parsed.success) return parsed.data
  throw mistakes(
    file,
    parsed.error.issues.map((issue) => {
      // The node itself may be missing: then the nearest one around it has the place.
      let offset: number | undefined
      for (let depth = issue.path.length; depth >= 0 && offset === undefined; depth--) {
        const node = document.getIn(issue.path.slice(0, depth), true)
        if (isNode(node)) offset = node.range?.[0]
      }
      return { path: issue.path.join('.'), message: issue.message, ...place(offset) }
    }),
  )
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const message = `${file} cannot be read: ${why}`
    throw new SallyportError('config-invalid', message, { clientMessage: message, cause: error })
  }
}

function mistakes(file: string, issues: InvalidInput['issues']): InvalidInput {
  const first = issues[0]!
  const where = first.line === undefined ? file : `${file}:${first.line}:${first.column}`
  const what = first.path === '' ? first.message : `${first.path}: ${first.message}`
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''
  return new InvalidInput('config-invalid', `${where}: ${what}${more}`, issues)
}
