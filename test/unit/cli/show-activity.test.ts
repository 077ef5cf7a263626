import { expect, test } from 'vitest'
import type { ActivityView } from '../../../control/api/shapes.ts'
import { outcomeCell } from '../../../control/cli/show-activity.ts'

const outcome = {
  ...{ rows: null, bytesUp: 0, bytesDown: 0, durationUs: 1 },
  ...{ errorCode: '', errorText: '' },
}

test.each([
  ['http', { status: 'ok', tag: '303' }, 'ok 303'],
  ['http', { status: 'error', tag: '404' }, 'error 404'],
  ['http', { status: 'error', tag: '403', errorCode: 'access-denied' }, 'error 403 access-denied'],
  ['http', { status: 'unknown', tag: '' }, 'unknown'],
  ['postgres', { status: 'ok', tag: 'SELECT 3' }, 'ok'],
  ['postgres', { status: 'error', tag: '', errorCode: '42P01' }, 'error 42P01'],
] as const)('an outcome of %s, %o, is shown as %s', (protocol, more, text) => {
  const activity = { protocol, outcome: { ...outcome, ...more } } as unknown as ActivityView
  expect(outcomeCell(activity).text).toBe(text)
})
