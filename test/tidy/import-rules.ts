import { importsOf, isTest, isTypeScript, resolveImport, type SourceFile } from './source-tree.ts'

/** Who may import what of ours: the table of ARCHITECTURE.md. The first area that a path is in counts. */
interface Area {
  readonly name: string
  /** Paths in the area. */
  readonly within: RegExp
  /** What its files may import besides. */
  readonly may: readonly RegExp[]
}

const kit = /^protocols\/kit\//
const contract = /^protocols\/[^/]+\.ts$/
const certs = /^certs\//
const api = /^control\/api\//
const anything = /^/

/** `protocols/<name>/` is an area for each name: they never import one another. */
function areaOfProtocol(path: string): Area | undefined {
  const folder = /^protocols\/[^/]+\//.exec(path)?.[0]
  if (folder === undefined || kit.test(path)) return undefined
  return { name: folder, within: new RegExp(`^${folder}`), may: [contract, kit] }
}

const areas: readonly Area[] = [
  { name: 'protocols/kit/', within: kit, may: [] },
  {
    name: 'protocols/index.ts',
    within: /^protocols\/index\.ts$/,
    may: [contract, /^protocols\/[^/]+\/index\.ts$/],
  },
  { name: 'protocols/*.ts', within: contract, may: [kit] },
  { name: 'certs/', within: certs, may: [kit] },
  { name: 'control/api/', within: api, may: [kit, /^protocols\/activity\.ts$/] },
  { name: 'control/', within: /^control\//, may: [api, certs, kit] },
  { name: 'proxy/', within: /^proxy\//, may: [/^protocols\//, certs, api] },
  { name: 'deploy/', within: /^deploy\//, may: [/^(?:protocols|proxy|control|certs)\//] },
  { name: 'bench/', within: /^bench\//, may: [anything] },
]

/** Imports against the table, one complaint each. */
export function complaintsAboutImports(files: readonly SourceFile[]): string[] {
  const complaints: string[] = []
  for (const file of files.filter(isTypeScript)) {
    if (isTest(file.path) || file.path === 'vitest.config.ts') continue
    const area = areaOfProtocol(file.path) ?? areas.find((area) => area.within.test(file.path))
    if (area === undefined) {
      complaints.push(`${file.path}: is in no area of the import table`)
      continue
    }
    for (const { specifier } of importsOf(file)) {
      const target = resolveImport(file.path, specifier)
      if (target === undefined) continue
      if (!area.within.test(target) && !area.may.some((allowed) => allowed.test(target))) {
        complaints.push(`${file.path}: ${area.name} may not import ${target}`)
      }
    }
  }
  return complaints
}

/** A protocol reaches nothing by itself: its session dials, its session writes, its session records. */
const closedToProtocols =
  /^node:(?:fs|child_process|dns|http|https|http2|dgram|worker_threads)(?:\/|$)/

/** Of modules that dial as well as serve: the names that dial. */
const dialling: Readonly<Record<string, RegExp>> = {
  'node:net': /\b(?:connect|createConnection)\b/,
  'node:http': /\b(?:request|get|Agent|globalAgent)\b/,
  'node:http2': /\bconnect\b/,
}
/** What speaks HTTP uses Node's; its clients are given sockets of the session, each in one place. */
const servesItself = /^protocols\/http\/.*\|node:http2?$/
const givenSockets = new Set(['protocols/http/upstream/http2.ts|node:http2'])

/** Modules with which a protocol could get around its session. */
export function complaintsAboutProtocolPowers(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => isTypeScript(file) && !isTest(file.path) && areaOfProtocol(file.path))
    .flatMap((file) =>
      importsOf(file)
        .filter(
          ({ specifier, names, typeOnly }) =>
            !typeOnly &&
            !givenSockets.has(`${file.path}|${specifier}`) &&
            ((closedToProtocols.test(specifier) &&
              !servesItself.test(`${file.path}|${specifier}`)) ||
              dialling[specifier]?.test(names) === true),
        )
        .map(({ specifier }) => `${file.path}: a protocol may not use ${specifier}`),
    )
}
