import { remember } from '../../kit/remember.ts'
import { levels, type HttpRule, type Level } from '../../session.ts'
import { compileGlob, matchesGlob } from './glob.ts'

/** What a request needs where no rule of the resource matches. */
export function needOfMethod(method: string): Level {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'OPTIONS':
      return 'read'
    case 'DELETE':
      return 'delete'
    default:
      return 'write'
  }
}

/** Paths of an app that are asked for again and again. */
const pathsMax = 256
const methodsMax = 8

/** Rules made ready: the globs are read once per session. */
export interface LevelRules {
  /** What a session must be allowed at least for this request. */
  needOf(method: string, path: string): Level | 'deny'
}

/**
 * The first rule that matches counts, else the method. A path is held against the patterns in each of the forms in which an app could
 * read it (as sent; decoded; without `.` and `..` and doubled slashes; with and without a slash at its end; in another case), and the highest
 * need counts: so that no spelling gets around a rule.
 */
export function compileRules(rules: readonly HttpRule[]): LevelRules {
  const compiled = rules.map(({ methods, path, needs }) => ({
    methods,
    needs,
    glob: compileGlob(path),
    inAnyCase: compileGlob(path.toLowerCase()),
  }))
  const isFor = (rule: (typeof compiled)[number], method: string): boolean =>
    rule.methods === undefined || rule.methods.includes(method)
  const asSent = (method: string, path: string): Level | 'deny' =>
    compiled.find((rule) => isFor(rule, method) && matchesGlob(rule.glob, path))?.needs ??
    needOfMethod(method)
  /** As routers read it that mind neither case nor a slash at the end: a rule for `/a/**` is one for `/A` as well. */
  const asLikely = (method: string, path: string): Level | 'deny' => {
    const lower = path.toLowerCase()
    const other = lower.endsWith('/') ? lower.slice(0, -1) : `${lower}/`
    const fits = ({ inAnyCase }: (typeof compiled)[number]): boolean =>
      matchesGlob(inAnyCase, lower) || matchesGlob(inAnyCase, other)
    return compiled.find((rule) => isFor(rule, method) && fits(rule))?.needs ?? needOfMethod(method)
  }
  const highest = (method: string, path: string): Level | 'deny' => {
    const needs = formsOf(path).flatMap((form) => [asSent(method, form), asLikely(method, form)])
    return needs.reduce((one, other) => (rank(other) > rank(one) ? other : one))
  }
  const byMethod = remember(
    (method) => ({ needOf: remember((path) => highest(method, path), pathsMax) }),
    methodsMax,
  )
  return {
    needOf: (method, path) =>
      compiled.length === 0 ? needOfMethod(method) : byMethod(method).needOf(path),
  }
}

/** A session of a level may do what lower levels may. */
export function isAllowed(level: Level, need: Level | 'deny'): boolean {
  return need !== 'deny' && levels.indexOf(level) >= levels.indexOf(need)
}

function rank(need: Level | 'deny'): number {
  return need === 'deny' ? levels.length : levels.indexOf(need)
}

/** Decoded so often: once by a server, and again by what stands before it or behind. */
const decodingsMax = 3

function formsOf(path: string): string[] {
  if (!/%|\/\.|\/\/|;|\.$/.test(path)) return [path]
  const forms = new Set([path])
  // What `new URL(path, base)` and `parse_url(path)` make of one that begins like a reference to another host (RFC 3986, 4.2).
  const [isOfHost, behindHost = '/'] = /^\/{2,}[^/]+(\/.*)?$/s.exec(path) ?? []
  for (const given of isOfHost === undefined ? [path] : [path, behindHost]) {
    addForms(forms, given, (each) => each)
    // Decoded by somebody behind whoever took the dots out.
    if (given.includes('%') && /\/\./.test(given)) addForms(forms, given, withoutDots)
  }
  return [...forms]
}

/** As sent and as often decoded as may be; before each time it becomes what `between` makes of it. */
function addForms(forms: Set<string>, path: string, between: (path: string) => string): void {
  let decoded = path
  for (let times = 0; times <= decodingsMax; times++) {
    forms.add(decoded)
    decoded = between(decoded)
    addNormal(forms, decoded)
    // Matrix parameters; what was hidden as a query; blanks, line ends and dots that routers and file systems drop.
    const bare = decoded.replaceAll(/;[^/]*/g, '').replace(/[?#].*$/s, '')
    addNormal(forms, bare)
    // oxlint-disable-next-line no-control-regex -- these are what is dropped. Looked for from where they begin alone: a run of them inside costs nothing.
    addNormal(forms, bare.replace(/(?<![\u0000-\u0020.])[\u0000-\u0020.]+$/, ''))
    const next = decode(decoded)
    if (next === decoded) return
    decoded = next
  }
}

/** Doubled slashes become one before `..` is looked at, as nginx and Go have it, or after, as RFC 3986 and `new URL` do. */
function addNormal(forms: Set<string>, path: string): void {
  const slashed = path.replaceAll('\\', '/')
  forms.add(withoutDots(slashed.replaceAll(/\/{2,}/g, '/')))
  const strict = withoutDots(slashed)
  forms.add(strict)
  forms.add(strict.replaceAll(/\/{2,}/g, '/'))
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path.replaceAll(/%([0-9A-Fa-f]{2})/g, (_all, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    )
  }
}

/** RFC 3986, 5.2.4: a `..` takes away what stands before it, be it nothing between two slashes. */
function withoutDots(path: string): string {
  const kept: string[] = []
  const parts = path.split('/')
  for (const [at, part] of parts.entries()) {
    const isLast = at === parts.length - 1
    if (part === '..') kept.pop()
    else if (part !== '.' && at > 0) kept.push(part)
    if (isLast && (part === '.' || part === '..')) kept.push('')
  }
  return `/${kept.join('/')}`
}
