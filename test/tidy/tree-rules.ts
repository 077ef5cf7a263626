import { posix } from 'node:path'
import { codeOf, isTest, isTypeScript, type SourceFile } from './source-tree.ts'

/** The fixed top level. */
const topLevel = [
  ...['.ci', 'bench', 'certs', 'control', 'deploy', 'protocols', 'proxy', 'test'],
  ...['.gitignore', '.npmrc', '.oxfmtrc.json', '.oxlintrc.json'],
  ...['ARCHITECTURE.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'ERRORS.md', 'LICENSE', 'README.md'],
  ...['SECURITY.md', 'package-lock.json', 'package.json', 'tsconfig.json', 'vitest.config.ts'],
]

export function complaintsAboutTopLevel(files: readonly SourceFile[]): string[] {
  const there = new Set(files.map((file) => file.path.split('/')[0]!))
  return [
    ...[...there]
      .filter((name) => !topLevel.includes(name))
      .map((name) => `${name}: not of the top level`),
    ...topLevel
      .filter((name) => !there.has(name))
      .map((name) => `${name}: missing from the top level`),
  ]
}

/** Every protocol has these, so that knowing one is knowing all. Parts of one go into a folder of its name. */
const protocolFiles = ['index', 'wire', 'downstream', 'upstream', 'observe']
/** What joins upstream and downstream; some protocols do it in either. */
const protocolFilesMore = ['relay']

export function complaintsAboutProtocols(files: readonly SourceFile[]): string[] {
  const folders = new Map<string, Set<string>>()
  for (const file of files) {
    const [, folder, name] = /^protocols\/([^/]+)\/([^/]+)/.exec(file.path) ?? []
    if (folder === undefined || name === undefined || folder === 'kit') continue
    folders.set(folder, (folders.get(folder) ?? new Set()).add(name))
  }
  return [...folders].flatMap(([folder, names]) => [
    ...protocolFiles
      .filter((name) => !names.has(`${name}.ts`))
      .map((name) => `protocols/${folder}/${name}.ts: missing; every protocol has it`),
    ...[...names]
      .filter(
        (name) => ![...protocolFiles, ...protocolFilesMore].includes(name.replace(/\.ts$/, '')),
      )
      .map(
        (name) => `protocols/${folder}/${name}: belongs into one of ${protocolFiles.join(', ')}`,
      ),
  ])
}

/** Files that start something, for those who use the product and for those who work on it. */
export interface Entries {
  readonly product: readonly string[]
  readonly work: readonly string[]
}

/** Product files that nothing but a test reaches, and other files that nothing reaches at all. */
export function complaintsAboutReachability(
  files: readonly SourceFile[],
  entries: Entries,
): string[] {
  const sources = new Map(files.filter(isTypeScript).map((file) => [file.path, file]))
  const missing = [...entries.product, ...entries.work].filter((path) => !sources.has(path))
  const byProduct = reachable(sources, entries.product)
  const tests = [...sources.keys()].filter((path) => path.endsWith('.test.ts'))
  const byAll = reachable(sources, [...entries.product, ...entries.work, ...tests])
  return [
    ...missing.map((path) => `${path}: an entry that is not there`),
    ...[...sources.keys()].flatMap((path) => {
      if (!byAll.has(path)) return [`${path}: nobody imports it`]
      const forWork = isTest(path) || path.startsWith('bench/') || path === 'vitest.config.ts'
      return forWork || byProduct.has(path) ? [] : [`${path}: only tests or benches import it`]
    }),
  ]
}

/** Imports, and names of files in strings: workers and processes are started by name. */
const mention = /['"`]([^'"`\s]+\.ts)['"`]/g

function reachable(sources: ReadonlyMap<string, SourceFile>, entries: readonly string[]) {
  const reached = new Set<string>()
  const waiting = [...entries]
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const file = sources.get(path)
    if (file === undefined || reached.has(path)) continue
    reached.add(path)
    for (const [, specifier] of codeOf(file.text, 'strings').matchAll(mention)) {
      waiting.push(posix.join(posix.dirname(path), specifier!), posix.normalize(specifier!))
    }
  }
  return reached
}

/** `folder/file` in backticks, or the target of a link. */
const pathInProse =
  /`((?:bench|certs|control|deploy|protocols|proxy|test)\/[\w./-]+)`|\]\((?!\w+:|#)([^)#\s]+)/g

/** Files and folders that the documents name but that are not there. */
export function complaintsAboutDocuments(files: readonly SourceFile[]): string[] {
  const paths = files.map((file) => file.path)
  return files
    .filter((file) => file.path.endsWith('.md'))
    .flatMap((file) =>
      [...file.text.matchAll(pathInProse)]
        .map(([, named, linked]) => named ?? posix.join(posix.dirname(file.path), linked!))
        .filter(
          (path) => !paths.some((there) => there === path || there.startsWith(folderOf(path))),
        )
        .map((path) => `${file.path}: names ${path}, which is not there`),
    )
}

function folderOf(path: string): string {
  return path.endsWith('/') ? path : `${path}/`
}

/** Codes that ERRORS.md documents (`### \`code\``) but nobody throws, and the other way round; each with its three parts. */
export function complaintsAboutErrorCodes(markdown: string, codes: readonly string[]): string[] {
  const sections = markdown.split(/^### /m).slice(1)
  const documented = sections.map((section) => /^`([^`\n]+)`\n/.exec(section)?.[1] ?? '')
  const parts = ['**What happened.**', '**Why.**', '**What to do.**']
  return [
    ...codes
      .filter((code) => !documented.includes(code))
      .map((code) => `${code}: not in ERRORS.md`),
    ...documented.filter((code) => !codes.includes(code)).map((code) => `${code}: no error code`),
    ...documented
      .filter((code, index) => documented.indexOf(code) !== index)
      .map((code) => `${code}: twice in ERRORS.md`),
    ...sections.flatMap((section, index) =>
      parts
        .filter((part) => !section.includes(part))
        .map((part) => `${documented[index]}: ERRORS.md lacks its ${part}`),
    ),
  ]
}
