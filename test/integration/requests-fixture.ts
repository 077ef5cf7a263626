/** Flows as the demo has them, and what the tests of requests ask for again and again. */
import type { z } from 'zod'
import type { flow } from '../../control/api/flow.ts'
import type { Level } from '../../control/api/names.ts'
import type { TestPerson } from './running-control.ts'

type FlowInput = z.input<typeof flow>

/** A flow of engineers for orders-db; `approval`: how many leads have to say yes. */
export function flowNamed(
  name: string,
  levels: Level[],
  approvals: number,
  more: Partial<FlowInput> = {},
): FlowInput {
  return {
    name,
    who: { groups: ['engineers'] },
    resources: { names: ['orders-db'] },
    levels,
    duration: { longest: '2h', default: '30m' },
    approval:
      approvals === 0
        ? { kind: 'automatic' }
        : { kind: 'people', count: approvals, from: { groups: ['leads'] } },
    ...more,
  }
}

export const demoFlows: FlowInput[] = [
  flowNamed('reading', ['read'], 0, { duration: { longest: '8h', default: '1h' } }),
  flowNamed('writing', ['write'], 1),
  flowNamed('deleting', ['delete', 'admin'], 2, { duration: { longest: '1h' } }),
]

export const allLevels = Object.fromEntries(
  (['read', 'write', 'delete', 'admin'] as const).map((level) => [
    level,
    { account: level, secret: `sealed:orders-db/${level}` },
  ]),
)

export const ask = (
  { api }: TestPerson,
  level: Level,
  more: { resource?: string; forMs?: number; reason?: string } = {},
) =>
  api.call('requestMake', { body: { resource: 'orders-db', level, reason: 'ticket 7', ...more } })

export const approve = (
  { api }: TestPerson,
  id: string,
  body: { forMs?: number; level?: Level; comment?: string } = {},
) => api.call('requestApprove', { params: { id }, body })

export const deny = ({ api }: TestPerson, id: string) =>
  api.call('requestDeny', { params: { id }, body: { comment: 'not today' } })

export const withdraw = ({ api }: TestPerson, id: string) =>
  api.call('requestWithdraw', { params: { id }, body: {} })
