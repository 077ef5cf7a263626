import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'

/** A file of the project: its path from the root with forward slashes, and what is in it. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

/** Never looked into: installed, generated, or not ours. The same names stand in .gitignore. */
const leftOut = new Set(['.git', 'node_modules', 'data', 'coverage'])

/** Every text file below `root`. Walked, not asked of git: a machine that only runs the tests may have none. */
export function readSourceTree(root: string): SourceFile[] {
  const files: SourceFile[] = []
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (leftOut.has(path) || entry.name === 'node_modules' || entry.name.endsWith('.log'))
        continue
      if (entry.isDirectory()) walk(path)
      else if (entry.isFile()) files.push({ path, text: readFileSync(join(root, path), 'utf8') })
    }
  }
  walk('')
  return files.filter((file) => !file.text.includes('\0'))
}

export function isTypeScript(file: SourceFile): boolean {
  return file.path.endsWith('.ts')
}

export function isTest(path: string): boolean {
  return path.startsWith('test/') || path.endsWith('.test.ts')
}

const productFolder = /^(?:protocols|proxy|control|certs)\//

/** Code that ships and serves: not tests, bench or deploy. */
export function isProduct(path: string): boolean {
  return productFolder.test(path) && !isTest(path)
}

/** Comments, then regular expressions, then strings; templates keep what is in their `${}`. */
const token =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|(?<=[=(,:;!&|?{}[\n]\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g

/**
 * Source text without comments, and unless they are kept without the content of strings and regular expressions. Lines stay
 * where they are. A rough reading that knows no grammar: good enough to look for words in.
 */
export function codeOf(text: string, keep: 'strings' | 'nothing' = 'nothing'): string {
  return text.replace(token, (found) => {
    if (found.startsWith('//') || found.startsWith('/*')) return blank(found)
    if (keep === 'strings') return found
    if (!found.startsWith('`')) return `''${blank(found)}`
    const expressions = found.match(/\$\{[^}]*\}/g) ?? []
    return `${expressions.map((expression) => ` (${expression.slice(2, -1)}) `).join('')}${blank(found)}`
  })
}

function blank(text: string): string {
  return text.replaceAll(/[^\n]+/g, '')
}

/** The line (from 1) of an offset in a text. */
export function lineAt(text: string, offset: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) line++
  return line
}

export interface Import {
  /** As it is written: `./x.ts`, `zod`. */
  readonly specifier: string
  /** The names, `* as x`, or '' for an import for its effect. */
  readonly names: string
  readonly typeOnly: boolean
}

/** Statements stand at the start of a line, so that one inside of a string is none; `import(…)` and `import.meta.resolve(…)` stand anywhere. */
const importForm =
  /^(?:import|export)\s+(type\s+)?([\w*$\s{},]*?)\s*from\s*['"]([^'"\n]+)['"]|^import\s*['"]([^'"\n]+)['"]|\bimport(?:\.meta\.resolve)?\(\s*['"]([^'"\n]+)['"]/gm

export function importsOf(file: SourceFile): Import[] {
  const code = codeOf(file.text, 'strings')
  return [...code.matchAll(importForm)].map(([, type, names, from, bare, dynamic]) => ({
    specifier: (from ?? bare ?? dynamic)!,
    names: names ?? '',
    typeOnly: type !== undefined,
  }))
}

/** The path from the root that a relative specifier means; undefined for a package. */
export function resolveImport(importer: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined
  return posix.join(posix.dirname(importer), specifier)
}

/** The package that a specifier means: `@a/b/c` is `@a/b`. Undefined for our own files and Node's modules. */
export function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('.') || specifier.startsWith('node:')) return undefined
  const parts = specifier.split('/')
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]
}
