import { formatDuration } from '../api/duration.ts'
import { markup, type Html } from './html.ts'

export function agoOf(sinceMs: number): string {
  return sinceMs < 1_000 ? 'just now' : `${formatDuration(sinceMs)} ago`
}

/** People and groups as a list of names. */
export function namesOf({
  people,
  groups,
}: {
  readonly people: readonly string[]
  readonly groups: readonly string[]
}): Html {
  const names = [
    ...groups.map((group) => markup`the group <strong>${group}</strong>`),
    ...people.map((person) => markup`<strong>${person}</strong>`),
  ]
  return markup`${names.map((name, index) => (index === 0 ? name : markup`, ${name}`))}`
}
