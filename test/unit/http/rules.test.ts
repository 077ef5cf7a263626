import { expect, test } from 'vitest'
import { redactQuery } from '../../../protocols/http/observe/redact-query.ts'
import { compileRules, isAllowed } from '../../../protocols/http/relay/rules.ts'
import { levels } from '../../../protocols/session.ts'

const rules = compileRules([
  { path: '/public/**', needs: 'read' },
  { methods: ['POST'], path: '/search', needs: 'read' },
  { path: '/users/*/keys', needs: 'admin' },
  { path: '/never/**', needs: 'deny' },
])

test.each([
  ['GET', '/', 'read'],
  ['HEAD', '/', 'read'],
  ['OPTIONS', '/', 'read'],
  ['POST', '/', 'write'],
  ['PUT', '/', 'write'],
  ['PATCH', '/', 'write'],
  ['DELETE', '/', 'delete'],
  ['PROPFIND', '/', 'write'],
  ['DELETE', '/public/a/b', 'read'],
  ['POST', '/search', 'read'],
  ['PUT', '/search', 'write'],
  ['GET', '/users/7/keys', 'admin'],
  ['GET', '/users/7/8/keys', 'read'],
  ['GET', '/users/7/%6beys', 'admin'],
  ['GET', '/users/7/%256beys', 'admin'],
  ['GET', '/users//7/keys', 'admin'],
  ['GET', '/users/7/x/../keys', 'admin'],
  ['GET', '/users/7/keys;a=b', 'admin'],
  ['GET', '/public/../never/x', 'deny'],
  ['DELETE', '/public/../users/7', 'delete'],
])('%s %s needs %s', (method, path, need) => {
  expect(rules.needOf(method, path)).toBe(need)
})

test('a level may do what lower levels may, and nobody what is denied', () => {
  for (const [have, level] of levels.entries()) {
    for (const [need, other] of levels.entries()) expect(isAllowed(level, other)).toBe(have >= need)
    expect(isAllowed(level, 'deny')).toBe(false)
  }
})

test.each([
  ['/a?b=c', '/a?b=c'],
  ['/a?token=x&b=c', '/a?token=[redacted]&b=c'],
  ['/a?access_token=x', '/a?access_token=[redacted]'],
  ['/a?clientSecret=x;y=z', '/a?clientSecret=[redacted];y=z'],
  ['/a?X-Amz-Signature=x', '/a?X-Amz-Signature=[redacted]'],
  ['/a?p%61ssword=x', '/a?p%61ssword=[redacted]'],
  ['/a?%2570assword=x', '/a?%2570assword=[redacted]'],
  ['/a?a=b?token=x', '/a?a=b?token=[redacted]'],
  ['/a?keyword=x&monkey=y', '/a?keyword=x&monkey=y'],
  ['/a?PATIENT=x', '/a?PATIENT=[redacted]'],
  ['/a?token=', '/a?token='],
])('%s is recorded as %s', (target, recorded) => {
  expect(redactQuery(target, ['patient'])).toBe(recorded)
})
