/** A file in YAML by its schema, with the line and column of every mistake: of the language, of the schema, of names. */
import {
  LineCounter,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseDocument,
  visit,
  type Document,
  type Node,
} from 'yaml'
import type { z } from 'zod'
import { InvalidInput, type Problem } from '../api/problem.ts'

type Issue = NonNullable<Problem['issues']>[number]
type Path = readonly PropertyKey[]
/** What of a pair is wrong. */
type Part = 'key' | 'value'

export const yamlFileBytesMax = 16 * 1024 * 1024
const issuesMax = 100

/** A list of things with names, under the name that it has at the top of the file. */
type Named = Readonly<Record<string, readonly { readonly name: string }[]>>

/** Throws `config-invalid` with all issues, each with its line and column (from 1). */
export function readYamlFile<F extends Named>(
  text: string,
  fileName: string,
  schema: z.ZodType<F>,
): F {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const mistakes = [...document.errors, ...document.warnings].map((error): Issue => {
    const { line, col } = lines.linePos(error.pos[0])
    return { path: '', message: error.message, line, column: col }
  })
  if (mistakes.length > 0) throw refusal(fileName, mistakes)
  const place = (path: Path, part: Part = 'value'): { line: number; column: number } => {
    const { line, col } = lines.linePos(offsetOf(document, path, part))
    return { line, column: col }
  }
  const parsed = schema.safeParse(readValue(document, lines, fileName) ?? {})
  if (!parsed.success) {
    const issues = parsed.error.issues.flatMap((issue): Issue[] =>
      flatten(issue).map(({ path, message, part }) => ({
        path: showPath(path),
        message,
        ...place(path, part),
      })),
    )
    throw refusal(fileName, issues)
  }
  const repeated = Object.entries(parsed.data).flatMap(([listName, items]) =>
    repeatedNames(items, listName, place),
  )
  if (repeated.length > 0) throw refusal(fileName, repeated)
  return parsed.data
}

/** Control's own issues, found again in the file. */
export function placeIssues(text: string, issues: readonly Issue[]): Issue[] {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  return issues.map((issue) => {
    const path = parsePath(issue.path.replace(/^(file|body)\.?/, ''))
    if (path.length === 0) return issue
    const { line, col } = lines.linePos(offsetOf(document, path))
    return { ...issue, line, column: col }
  })
}

/** Aliases are followed only here: one that names nothing, or a bomb of them, is a mistake of the file. */
function readValue(document: Document, lines: LineCounter, fileName: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    let offset = 0
    visit(document, {
      Alias(_, alias) {
        if (alias.resolve(document) !== undefined) return undefined
        offset = alias.range?.[0] ?? 0
        return visit.BREAK
      },
    })
    const { line, col } = lines.linePos(offset)
    const message = error instanceof Error ? error.message : String(error)
    throw refusal(fileName, [{ path: '', message, line, column: col }])
  }
}

function repeatedNames(
  items: readonly { name: string }[],
  listName: string,
  place: (path: Path) => object,
): Issue[] {
  const first = new Map<string, number>()
  return items.flatMap(({ name }, index) => {
    const before = first.get(name)
    if (before === undefined) {
      first.set(name, index)
      return []
    }
    const path = [listName, index, 'name']
    const message = `the name ${JSON.stringify(name)} is taken by ${listName}[${before}]`
    return [{ path: showPath(path), message, ...place(path) }]
  })
}

/** An unknown key is reported at the key itself, one issue each; the rest as it is. */
function flatten(issue: z.core.$ZodIssue): { path: Path; message: string; part: Part }[] {
  if (issue.code !== 'unrecognized_keys') {
    return [{ path: issue.path, message: issue.message, part: 'value' }]
  }
  return issue.keys.map((key) => ({
    path: [...issue.path, key],
    message: 'is not known here',
    part: 'key',
  }))
}

/** Where the value of a path stands; of what is missing, where the thing stands that lacks it. */
function offsetOf(document: Document, path: Path, part: Part = 'value'): number {
  let node: unknown = document.contents
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step))
      if (pair === undefined) break
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset
      node = pair.value
      if (part === 'key' && index === path.length - 1) break
      if (isScalar(node)) offset = node.range?.[0] ?? offset
    } else if (isSeq(node)) {
      node = node.items[Number(step)]
      if (!isNode(node)) break
      offset = node.range?.[0] ?? offset
    } else {
      break
    }
  }
  return offset
}

function isNode(value: unknown): value is Node {
  return isScalar(value) || isMap(value) || isSeq(value) || isAlias(value)
}

function showPath(path: Path): string {
  return path
    .map((step, index) =>
      typeof step === 'number' ? `[${step}]` : `${index > 0 ? '.' : ''}${String(step)}`,
    )
    .join('')
}

function parsePath(path: string): (string | number)[] {
  return path
    .split(/[.[\]/]+/)
    .filter((step) => step !== '')
    .map((step) => (/^\d+$/.test(step) ? Number(step) : step))
}

function refusal(fileName: string, issues: readonly Issue[]): InvalidInput {
  const count = issues.length === 1 ? 'a mistake' : `${issues.length} mistakes`
  return new InvalidInput('config-invalid', `${fileName} has ${count}`, issues.slice(0, issuesMax))
}
