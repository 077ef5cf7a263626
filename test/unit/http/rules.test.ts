import { expect, test, vi } from 'vitest'
import { redactQuery } from '../../../protocols/http/observe/redact-query.ts'
import { compileGlob, matchesEverywhere, matchesGlob } from '../../../protocols/http/relay/glob.ts'
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
  // What many routers take for the same: case, a slash at the end, what is dropped there.
  ['GET', '/NEVER/x', 'deny'],
  ['GET', '/never', 'deny'],
  ['GET', '/users/7/keys/', 'admin'],
  ['GET', '/Users/7/Keys', 'admin'],
  ['GET', '/users/7/keys%0a', 'admin'],
  ['GET', '/users/7/keys%20', 'admin'],
  ['GET', '/users/7/keys.', 'admin'],
  ['GET', '/users/7/keys%3fa', 'admin'],
  ['GET', '/users/7/keys%23a', 'admin'],
  ['GET', '/users/7/%25256beys', 'admin'],
  ['GET', '/x/..;/never/y', 'deny'],
  // What begins like a reference to another host is one for `new URL(path, base)` of Node and `parse_url` of PHP.
  ['GET', '//x/never/y', 'deny'],
  ['GET', '///x:1/never/y', 'deny'],
  ['GET', '//a@x/users/7/keys', 'admin'],
  ['GET', '//x/%6eever/y', 'deny'],
  ['GET', '//x/y/../never/y', 'deny'],
  // Nothing between two slashes is a part of a path too, for whoever reads RFC 3986.
  ['GET', '/x/../never//../y', 'deny'],
  ['GET', '/x/..//users//7///../keys', 'admin'],
  ['GET', '/x/..%5c/users%5c/7//%5c../keys', 'admin'],
  // Dots taken out by one, and the rest decoded by another behind it.
  ['GET', '/x/../n%65ver/%2e%2e/y', 'deny'],
  ['GET', '/x//y', 'read'],
  // A rule that asks for less is for what it names alone.
  ['POST', '/SEARCH', 'write'],
  ['POST', '/search/', 'write'],
  ['PUT', '/PUBLIC/a', 'write'],
  ['DELETE', '/public', 'delete'],
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
  [`/a?q=spa_${'a'.repeat(32)}&b`, '/a?q=[redacted]&b'],
  [`/a?spa_${'a'.repeat(32)}`, '/a?[redacted]'],
  ['/a?eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln&b=c', '/a?[redacted]&b=c'],
  ['/a?eyJust-a-word&b=c', '/a?eyJust-a-word&b=c'],
  // What is no UTF-8 is read as far as it goes.
  ['/a?t%6fken%ff=x', '/a?t%6fken%ff=[redacted]'],
  ['/a?%ff=x&%25ff%3b=y', '/a?%ff=x&%25ff%3b=y'],
  ['/a?p%C3%A4ss=x&pati%65nt=y', '/a?p%C3%A4ss=x&pati%65nt=[redacted]'],
  ['/a;jsessionid=x/b;v=1;T%6fken=y?c=d', '/a;jsessionid=[redacted]/b;v=1;T%6fken=[redacted]?c=d'],
  ['/a;patient=x', '/a;patient=[redacted]'],
  ['/a;token=/b;=x;c', '/a;token=/b;=x;c'],
  ['/?', '/?'],
])('%s is recorded as %s', (target, recorded) => {
  expect(redactQuery(target, ['patient'])).toBe(recorded)
})

// Ten thousand exceptions for one target, and a hundred targets at once on one connection, stopped the proxy for seconds.
test('parameters that do not decode are read without an exception', () => {
  const decoding = vi.spyOn(globalThis, 'decodeURIComponent')
  try {
    for (const part of ['%ff=1&', '%25ff=1&', '%zz=1&', 'a%=1&', '%e2%82=1&', '%61=1&']) {
      const target = `/?${part.repeat(100)}`
      expect(redactQuery(target, [])).toBe(target)
    }
    expect(decoding).toHaveBeenCalled()
    expect(decoding.mock.results.filter(({ type }) => type === 'throw')).toEqual([])
  } finally {
    decoding.mockRestore()
  }
})

test('a path made to be hard to match is matched at once', () => {
  const hard = compileRules([
    { path: '/**/a/**/b/**/c', needs: 'admin' },
    { path: '/a*a*a*a*a*b', needs: 'deny' },
  ])
  expect(hard.needOf('GET', '/a/b'.repeat(2_000))).toBe('read')
  expect(hard.needOf('GET', `/${'a'.repeat(8_000)}`)).toBe('read')
  expect(hard.needOf('GET', `/${'a'.repeat(8_000)}b`)).toBe('deny')
})

// Each of these took between half a second and a second once: whoever might read could stop the proxy, and every cut with it.
test('many paths made to be hard to match are matched at once', () => {
  const hard = compileRules([{ path: '/files/**.php*x', needs: 'deny' }])
  const dots = `/${'.'.repeat(8_000)}`
  for (let times = 0; times < 40; times++) {
    expect(hard.needOf('GET', `${dots}y`)).toBe('read')
    expect(hard.needOf('GET', `/${'%20'.repeat(2_600)}y`)).toBe('read')
    expect(hard.needOf('GET', `/files/${'.php'.repeat(1_900)};`)).toBe('read')
  }
  expect(hard.needOf('GET', `/files/${'.php'.repeat(1_900)}x`)).toBe('deny')
  expect(hard.needOf('GET', `/files/${'.php/'.repeat(1_500)}.php-x`)).toBe('deny')
  expect(hard.needOf('GET', '/files/a.phpx . .')).toBe('deny')
})

test('a glob is matched alike in both ways', () => {
  let seed = 7
  const pick = (letters: string): string =>
    letters[(seed = (seed * 48_271) % 2_147_483_647) % letters.length]!
  const text = (letters: string, length: number): string =>
    Array.from({ length }, () => pick(letters)).join('')
  const asRegExp = (glob: string): RegExp =>
    new RegExp(
      `^${glob.replaceAll('**', '\u0001').replaceAll('*', '[^/]*').replaceAll('\u0001', '.*')}$`,
    )
  for (let times = 0; times < 3_000; times++) {
    const glob = `**${text('ab/*', 4)}*${text('ab/*', 3)}`
    const path = text('aaab/', 40)
    const ways = [matchesGlob, matchesEverywhere].map((way) => way(compileGlob(glob), path))
    const expected = asRegExp(glob).test(path)
    expect([glob, path, ...ways]).toEqual([glob, path, expected, expected])
  }
})

test.each([
  ['/a/*', '/a/b', true],
  ['/a/*', '/a/b/c', false],
  ['/a/*/c', '/a/b/c', true],
  ['/a/**', '/a/b/c', true],
  ['**/c', '/a/b/c', true],
  ['/*b*/x', '/abab/x', true],
  ['/*b*/x', '/abab/y/x', false],
  ['/**/x*y', '/x/xz/xzy', true],
  ['/**/x*y', '/x/xz/zy', false],
  ['/**', '/', true],
  ['/a.b', '/axb', false],
])('%s and %s', (glob, path, matches) => {
  expect(matchesGlob(compileGlob(glob), path)).toBe(matches)
})
