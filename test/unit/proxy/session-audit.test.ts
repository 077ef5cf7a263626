import { expect, test } from 'vitest'
import { newOutcome, type ActivityKind } from '../../../protocols/activity.ts'
import {
  createSessionAudit,
  type SessionAuditOptions,
} from '../../../proxy/sessions/session-audit.ts'
import { silentLog } from '../../fakes/proxy-world.ts'

test('counts what is recorded, and the WebSockets that are open', async () => {
  let last = 0
  let open = 0
  let isOver = false
  const kinds: ActivityKind[] = []
  const audit = createSessionAudit({
    spool: { appendActivity: () => (isOver ? 0 : ++last), appendOutcome() {} },
    labels: { protocol: 'http' },
    metrics: {
      reported: (_protocol: string, kind: ActivityKind) => void kinds.push(kind),
      webSockets: (more: number) => (open += more),
    },
    log: silentLog,
  } as unknown as SessionAuditOptions)
  const report = (kind: ActivityKind): number => audit.report({ kind, encode() {} })

  audit.settle(report('request'), newOutcome())
  const first = report('websocket')
  report('websocket')
  expect(open).toBe(2)
  audit.settle(first, newOutcome())
  audit.settle(first, newOutcome())
  expect(open).toBe(1)
  isOver = true
  report('websocket')
  expect(kinds).toEqual(['request', 'websocket', 'websocket'])
  await audit.closed({} as Parameters<typeof audit.closed>[0], () => {})
  expect(open).toBe(0)
})
