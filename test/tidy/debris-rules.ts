import { codeOf, isProduct, isTest, isTypeScript, lineAt, type SourceFile } from './source-tree.ts'

/** Words and forms that have no place, and where. */
interface Rule {
  readonly what: string
  readonly pattern: RegExp
  /** Looked for in the code without comments and strings, in the code with strings, or in the text as it is. */
  readonly in: 'code' | 'text'
  readonly where: (file: SourceFile) => boolean
}

const everywhere = (): boolean => true
const typeScript = isTypeScript
const product = (file: SourceFile): boolean => isTypeScript(file) && isProduct(file.path)

/** The folders that talk to a person on a terminal. */
const speaksToTerminal = /^(?:control\/cli|deploy|bench|test)\//
const suffix = '(?:Manager|Helper|Helpers|Util|Utils|Service)'

const rules: readonly Rule[] = [
  {
    what: 'unfinished business',
    pattern: /\b(?:TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b/,
    in: 'text',
    where: everywhere,
  },
  {
    what: 'a conflict marker',
    pattern: /^(?:<{7}|={7}|>{7})(?: |$)/m,
    in: 'text',
    where: everywhere,
  },
  { what: 'a carriage return', pattern: /\r/, in: 'text', where: everywhere },
  { what: 'white space at the end of a line', pattern: /[ \t]+$/m, in: 'text', where: everywhere },
  { what: 'empty lines at the end', pattern: /\n\n$/, in: 'text', where: everywhere },
  { what: 'no line end at the end', pattern: /[^\n]$(?![\s\S])/, in: 'text', where: everywhere },
  {
    what: 'a path of some machine',
    pattern: /(?<![\w.}*-])\/(?:work\b|root\/|home\/)/,
    in: 'text',
    where: everywhere,
  },
  {
    what: 'a registry that is not the public one',
    pattern:
      /https?:\/\/(?!registry\.npmjs\.org\/)[\w.:-]*(?:registry|artifactory|nexus|verdaccio|mirror)[\w.:-]*\//,
    in: 'text',
    where: everywhere,
  },
  {
    what: 'a package from elsewhere',
    pattern: /"resolved": "(?!https:\/\/registry\.npmjs\.org\/)/,
    in: 'text',
    where: (file) => file.path === 'package-lock.json',
  },
  {
    what: 'console outside of what speaks to a terminal',
    pattern: /\bconsole\s*\./,
    in: 'code',
    where: (file) => isTypeScript(file) && !speaksToTerminal.test(file.path) && !isTest(file.path),
  },
  {
    what: 'time that is not from a Clock',
    pattern:
      /\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\s*\.\s*now\b|\bhrtime\b|\bAbortSignal\.timeout\b|(?<![.\w])set(?:Timeout|Interval)\b|\bglobalThis\.set(?:Timeout|Interval)\b/,
    in: 'code',
    where: (file) => product(file) && file.path !== 'protocols/kit/clock.ts',
  },
  {
    what: 'the type any',
    pattern: /(?:[:<|&,]\s*|\bas\s+|=>\s*)any\b(?!\s*[:(])/,
    in: 'code',
    where: typeScript,
  },
  {
    what: 'a default export',
    pattern: /\bexport\s+default\b|\bas\s+default\b/,
    in: 'code',
    where: (file) => isTypeScript(file) && file.path !== 'vitest.config.ts',
  },
  { what: 'a debugger statement', pattern: /^\s*debugger\b/m, in: 'code', where: typeScript },
  {
    what: 'a test that is left out or alone',
    pattern: /\b(?:test|it|describe|suite)(?:\.\w+)*\.(?:only|skip|todo|fails)\b/,
    in: 'code',
    where: typeScript,
  },
  {
    what: 'a name that says nothing',
    pattern: new RegExp(`\\b(?:class|interface|type|function|const|let)\\s+\\w*${suffix}\\b`, 'i'),
    in: 'code',
    where: typeScript,
  },
  {
    what: 'form that Node cannot strip',
    pattern: /^\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?enum\s|^\s*(?:export\s+)?namespace\s/m,
    in: 'code',
    where: typeScript,
  },
  {
    what: 'a check switched off',
    pattern: /@ts-(?:ignore|nocheck)|(?:eslint|oxlint)-disable(?!-next-line [\w/@-]+)/,
    in: 'text',
    where: (file) => isTypeScript(file) && !file.path.startsWith('test/tidy/'),
  },
]

/** Debris in the files, with the line of its first place in each. */
export function complaintsAboutDebris(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const code = isTypeScript(file) ? codeOf(file.text) : file.text
    return rules
      .filter((rule) => rule.where(file))
      .flatMap((rule) => {
        const text = rule.in === 'code' ? code : file.text
        const found = text.match(rule.pattern)
        return found === null ? [] : [`${file.path}:${lineAt(text, found.index!)}: ${rule.what}`]
      })
  })
}

const linesMax = 400
/** A suite is one thing for longer. */
const testLinesMax = 900
const namePattern = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9-]+)?$/
const emptyName = /(?:^|-)(?:manager|helpers?|utils?|service|misc|common|stuff)$/

/** Files that are two things, or whose names are not kebab-case or say nothing, or that an editor left behind. */
export function complaintsAboutFiles(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const complaints: string[] = []
    const base = file.path.slice(file.path.lastIndexOf('/') + 1)
    if (/\.(?:orig|rej|bak|swp|tmp)$|~$/.test(base)) complaints.push('left behind by an editor')
    if (isTypeScript(file)) {
      const name = base.slice(0, -'.ts'.length)
      const lines = file.text.split('\n').length - 1
      const max = isTest(file.path) ? testLinesMax : linesMax
      if (lines > max) complaints.push(`${lines} lines: past ${max} it is two things`)
      if (!namePattern.test(name)) complaints.push('the name is not kebab-case')
      if (emptyName.test(name.replace(/\.test$/, ''))) complaints.push('the name says nothing')
    }
    return complaints.map((complaint) => `${file.path}: ${complaint}`)
  })
}
