import { expect, test } from 'vitest'
import { problem, statusOfCode } from '../../../control/api/problem.ts'
import { problemOf } from '../../../control/server/problem-of.ts'
import { errorCodes, SallyportError } from '../../../protocols/kit/errors.ts'

test('an unknown error tells nothing of itself', () => {
  const shown = problemOf(new Error('password=hunter2 at /srv/control/x.ts:12'))
  expect(shown).toMatchObject({ status: 500, code: 'internal' })
  expect(JSON.stringify(shown)).not.toMatch(/hunter2|x\.ts/)
})

test.each(errorCodes)('%s becomes a problem that fits the shape', (code) => {
  const shown = problemOf(
    new SallyportError(code, 'for operators', { clientMessage: 'for clients', hint: 'do this' }),
  )
  problem.parse(shown)
  expect(JSON.stringify(shown)).not.toContain('for operators')
  if (statusOfCode[code] === undefined) expect(shown.code).toBe('internal')
  else expect(shown).toMatchObject({ code, status: statusOfCode[code], detail: 'for clients' })
})

test('what the HTTP library refuses is worded by us', () => {
  const tooLarge = { code: 'FST_ERR_CTP_BODY_TOO_LARGE', statusCode: 413, message: 'x' }
  expect(problemOf(tooLarge)).toMatchObject({ status: 413, code: 'payload-too-large' })
  const syntax = { code: 'FST_ERR_CTP_INVALID_JSON_BODY', statusCode: 400, message: 'x' }
  expect(problemOf(syntax)).toMatchObject({ status: 400, code: 'request-invalid' })
  const broken = { code: 'FST_ERR_REP_ALREADY_SENT', statusCode: 500, message: 'x' }
  expect(problemOf(broken)).toMatchObject({ status: 500, code: 'internal' })
})
