/** What applying a file would change: pure, so that the plan and the change cannot differ. */
import type { Level } from '../api/names.ts'
import type { Resource } from '../api/resource.ts'

export interface PlannedChange {
  readonly action: 'add' | 'change' | 'remove' | 'keep'
  readonly name: string
  readonly before: Resource | undefined
  readonly after: Resource | undefined
  /** `path: old → new`. */
  readonly details: string[]
  /** Levels whose grants and sessions end: all when it goes, or moves to other proxies. */
  readonly endedLevels: readonly Level[]
}

const detailCharactersMax = 2_000

/** In the order of names. `prune`: what the file does not name is removed. */
export function planResources(
  present: readonly Resource[],
  wanted: readonly Resource[],
  prune: boolean,
): PlannedChange[] {
  const before = new Map(present.map((resource) => [resource.name, resource]))
  const after = new Map(wanted.map((resource) => [resource.name, resource]))
  const names = [...new Set([...before.keys(), ...after.keys()])].sort()
  return names.map((name) => {
    const old = before.get(name)
    const next = after.get(name) ?? (prune ? undefined : old)
    return plan(name, old, next)
  })
}

function plan(
  name: string,
  before: Resource | undefined,
  after: Resource | undefined,
): PlannedChange {
  const base = { name, before, after }
  if (before === undefined) return { ...base, action: 'add', details: [], endedLevels: [] }
  const offered = levelsOf(before)
  if (after === undefined) return { ...base, action: 'remove', details: [], endedLevels: offered }
  const details = differences('', before, after)
  if (details.length === 0) return { ...base, action: 'keep', details, endedLevels: [] }
  const moved = before.group !== after.group || before.protocol !== after.protocol
  const endedLevels = offered.filter((level) => moved || after.levels[level] === undefined)
  return { ...base, action: 'change', details, endedLevels }
}

function levelsOf(resource: Resource): Level[] {
  return Object.keys(resource.levels) as Level[]
}

/** One line for each leaf that differs, in the order of paths. */
export function differences(path: string, before: unknown, after: unknown): string[] {
  if (isRecord(before) && isRecord(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()
    return keys.flatMap((key) =>
      differences(path === '' ? key : `${path}.${key}`, before[key], after[key]),
    )
  }
  const [old, next] = [show(before), show(after)]
  return old === next ? [] : [`${path}: ${old} → ${next}`.slice(0, detailCharactersMax)]
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function show(value: unknown): string {
  if (value === undefined) return '(none)'
  return typeof value === 'string' ? value : canonical(value)
}

/** JSON with sorted keys: a database may give them back in another order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    isRecord(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
