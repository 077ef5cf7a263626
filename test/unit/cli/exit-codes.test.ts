import { expect, test } from 'vitest'
import { exitCodeMeanings, exitCodeOf, exitCodes } from '../../../control/cli/exit-codes.ts'
import { helpTopics } from '../../../control/cli/help-topics.ts'
import { statusOfCode } from '../../../control/api/problem.ts'
import { errorCodes, type ErrorCode } from '../../../protocols/kit/errors.ts'

test('each exit code is documented once, and help shows it', () => {
  const codes = exitCodeMeanings.map(([code]) => code)
  expect(codes).toEqual(Object.values(exitCodes))
  for (const [code, meaning] of exitCodeMeanings) {
    expect(helpTopics['exit-codes']).toMatch(new RegExp(`^ +${code}  ${meaning}$`, 'm'))
  }
})

test.each<[ErrorCode, number]>([
  ['usage', 2],
  ['config-invalid', 2],
  ['request-invalid', 2],
  ['not-allowed', 3],
  ['access-denied', 3],
  ['not-found', 4],
  ['control-unreachable', 5],
  ['evidence-missing', 6],
  ['evidence-expired', 6],
  ['conflict', 7],
  ['internal', 70],
])('%s exits with %i', (code, exit) => {
  expect(exitCodeOf(code)).toBe(exit)
})

test('what the API can answer with never looks like success or like damage', () => {
  // Only a proxy that ships something damaged is answered `audit-corrupt`, never a person.
  const toPeople = errorCodes.filter((code) => code !== 'audit-corrupt')
  for (const code of toPeople.filter((code) => statusOfCode[code] !== undefined)) {
    expect([0, 1]).not.toContain(exitCodeOf(code))
  }
})
