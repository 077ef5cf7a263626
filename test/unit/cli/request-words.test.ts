import { expect, test } from 'vitest'
import type { AccessRequest } from '../../../control/api/request.ts'
import { createCli } from '../../../control/cli/cli.ts'
import { outcomeLines, waitsForText } from '../../../control/cli/request-words.ts'
import { createTestClock } from '../../test-clock.ts'

const silent = { write: () => true }
const clock = createTestClock()
const cli = createCli({
  clock,
  environment: {},
  json: false,
  stdin: {},
  stdout: silent,
  stderr: silent,
  exitWith: () => undefined,
})
const id = '0190aaaa-bbb1-7000-8000-000000000001'
const request: AccessRequest = {
  id,
  kind: 'access',
  personId: id,
  personEmail: 'dev@example.test',
  resource: 'orders-db',
  level: 'delete',
  forMs: 3_600_000,
  reason: 'x',
  state: 'pending',
  flow: 'delete',
  flowsVersion: 1,
  approvalsNeeded: 2,
  approvers: { people: ['boss@example.test'], groups: ['leads'] },
  decisions: [],
  madeAtMs: clock.wallMs(),
  answerByMs: clock.wallMs() + 3_600_000,
  decidedAtMs: null,
  grantId: null,
  mine: 'asked',
}
const decision = (more: Partial<AccessRequest['decisions'][number]>) => ({
  personId: id,
  personEmail: 'lead@example.test',
  verdict: 'approve' as const,
  level: null,
  forMs: null,
  comment: '',
  atMs: clock.wallMs(),
  remoteAddress: '127.0.0.1',
  ...more,
})

test('what waits says for how many of whom', () => {
  expect(waitsForText(request)).toBe('2 more yes of leads, boss@example.test')
  const once = { ...request, decisions: [decision({})] }
  expect(outcomeLines(cli, once, null)[0]).toBe(
    'asked: delete on orders-db for 1h; it waits for 1 more yes of leads, boss@example.test',
  )
})

test('an approver who may not see the grant is told what is left of what was asked for', () => {
  const decisions = [decision({ level: 'write', forMs: 600_000 }), decision({ level: 'read' })]
  expect(outcomeLines(cli, { ...request, state: 'approved', decisions }, null)[0]).toBe(
    'approved: dev@example.test, read on orders-db for 10m',
  )
})

test.each([
  ['denied', [decision({ verdict: 'deny', comment: 'not\u001b[2J today' })], 'denied by lead@'],
  ['withdrawn', [], 'withdrawn: delete on orders-db for 1h'],
  ['expired', [], 'nobody answered in time: delete on orders-db'],
] as const)('%s', (state, decisions, words) => {
  const [line] = outcomeLines(cli, { ...request, state, decisions: [...decisions] }, null)
  expect(line).toContain(words)
  expect(line).not.toContain('\u001b')
})
