/** What applying flows would change: pure. */
import type { z } from 'zod'
import type { Flow } from '../api/flow.ts'
import type { flowsPlan } from '../api/request.ts'
import { differences } from '../resources/plan-resources.ts'

type Change = z.output<typeof flowsPlan>['changes'][number]

/** In the order of the file, then those that go. A flow that only moved is a change: the first of several that fit decides. */
export function planFlows(present: readonly Flow[], wanted: readonly Flow[]): Change[] {
  const before = new Map(present.map((flow) => [flow.name, flow]))
  const after = new Set(wanted.map(({ name }) => name))
  const kept = present.filter(({ name }) => after.has(name)).map(({ name }) => name)
  const order = wanted.filter(({ name }) => before.has(name)).map(({ name }) => name)
  const changes = wanted.map((flow): Change => {
    const old = before.get(flow.name)
    if (old === undefined) return { action: 'add', name: flow.name, details: [] }
    const details = differences('', old, flow)
    const [from, to] = [kept.indexOf(flow.name) + 1, order.indexOf(flow.name) + 1]
    if (from !== to) details.push(`place: ${from} → ${to}`)
    return { action: details.length === 0 ? 'keep' : 'change', name: flow.name, details }
  })
  const gone = present.filter(({ name }) => !after.has(name))
  return [...changes, ...gone.map(({ name }): Change => ({ action: 'remove', name, details: [] }))]
}
