import { levels, type HttpRule, type Level } from '../../session.ts'

/** What a request needs where no rule of the resource matches. */
function needOfMethod(method: string): Level {
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

/** Rules made ready: the patterns are compiled once per session. */
export interface LevelRules {
  /** What a session must be allowed at least for this request. */
  needOf(method: string, path: string): Level | 'deny'
}

/**
 * The first rule that matches counts, else the method. A path is held against the patterns in each of the forms in which an app could
 * read it (as sent; decoded; without `.` and `..` and doubled slashes), and the highest need counts: so that no spelling
 * gets around a rule.
 */
export function compileRules(rules: readonly HttpRule[]): LevelRules {
  const compiled = rules.map(({ methods, path, needs }) => ({
    methods,
    needs,
    pattern: compileGlob(path),
  }))
  const needOfForm = (method: string, path: string): Level | 'deny' =>
    compiled.find(
      (rule) =>
        (rule.methods === undefined || rule.methods.includes(method)) && rule.pattern.test(path),
    )?.needs ?? needOfMethod(method)
  return {
    needOf(method, path) {
      if (compiled.length === 0) return needOfMethod(method)
      const needs = formsOf(path).map((form) => needOfForm(method, form))
      return needs.reduce((one, other) => (rank(other) > rank(one) ? other : one))
    },
  }
}

/** A session of a level may do what lower levels may. */
export function isAllowed(level: Level, need: Level | 'deny'): boolean {
  return need !== 'deny' && levels.indexOf(level) >= levels.indexOf(need)
}

function rank(need: Level | 'deny'): number {
  return need === 'deny' ? levels.length : levels.indexOf(need)
}

/** `*` is any text without a slash, `**` any text. */
function compileGlob(glob: string): RegExp {
  const source = glob
    .split(/(\*\*|\*)/)
    .map((part) =>
      part === '**' ? '.*' : part === '*' ? '[^/]*' : part.replaceAll(/[\\^$.|?+()[\]{}]/g, '\\$&'),
    )
    .join('')
  return new RegExp(`^${source}$`, 's')
}

function formsOf(path: string): string[] {
  if (!/%|\/\.|\/\/|;/.test(path)) return [path]
  const forms = new Set([path, normalise(path)])
  let decoded = path
  for (let times = 0; times < 2; times++) {
    decoded = decode(decoded)
    forms.add(decoded)
    forms.add(normalise(decoded))
    const bare = decoded.replaceAll(/;[^/]*/g, '')
    forms.add(normalise(bare))
  }
  return [...forms]
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

/** RFC 3986, 5.2.4, and doubled slashes as one. */
function normalise(path: string): string {
  const kept: string[] = []
  const parts = path.replaceAll('\\', '/').split('/')
  for (const [at, part] of parts.entries()) {
    const isLast = at === parts.length - 1
    if (part === '..') kept.pop()
    else if (part !== '.' && (part !== '' || isLast)) kept.push(part)
    if (isLast && (part === '.' || part === '..')) kept.push('')
  }
  return `/${kept.join('/')}`
}
