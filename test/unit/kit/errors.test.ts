import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { assert, unreachable } from '../../../protocols/kit/assert.ts'
import { errorCodes, SallyportError, toSallyportError } from '../../../protocols/kit/errors.ts'
import { defaultLimits } from '../../../protocols/kit/limits.ts'
import { Secret } from '../../../protocols/kit/secret.ts'

describe('errors', () => {
  test('tell the client nothing unless told to', () => {
    const error = new SallyportError('access-denied', 'grant 17 of resource orders-db has ended')
    expect(error.clientMessage).toBe('the connection was refused')
    expect(error.hint).toBeUndefined()
    expect(error.message).toContain('grant 17')
  })

  test('of unknown origin become internal, and keep their cause for the operator only', () => {
    const cause = new Error('password=hunter2')
    const error = toSallyportError(cause)
    expect(error.code).toBe('internal')
    expect(error.cause).toBe(cause)
    expect(error.clientMessage).not.toContain('hunter2')
    expect(toSallyportError('text').message).toBe('text')
    expect(toSallyportError(error)).toBe(error)
  })

  test('have codes that are words, each once', () => {
    expect(new Set(errorCodes).size).toBe(errorCodes.length)
    for (const code of errorCodes) expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/)
  })
})

describe('a secret', () => {
  const shown = (value: unknown): string =>
    [
      String(value),
      JSON.stringify({ value }),
      inspect(value, { showHidden: true, depth: 9 }),
      inspect({ value }),
      JSON.stringify(Object.assign({}, value)),
      Object.values(value as object).join(),
      JSON.stringify(Object.getOwnPropertyDescriptors(value)),
    ].join()

  test.each([['hunter2'], [Buffer.from('hunter2')], [{ password: 'hunter2' }]])(
    'does not show %o, however it is printed',
    (value) => {
      const text = shown(new Secret(value))
      expect(text).not.toContain('hunter2')
      expect(text).not.toContain('104,117')
      expect(text).toContain('[secret]')
    },
  )

  test('is revealed on purpose, until it is dropped', () => {
    const secret = new Secret('hunter2')
    expect(secret.reveal()).toBe('hunter2')
    secret.drop()
    expect(() => secret.reveal()).toThrow('dropped')
    secret.drop()
  })

  test('of bytes is overwritten when it is dropped', () => {
    const bytes = Buffer.from('hunter2')
    new Secret(bytes).drop()
    expect(bytes.equals(Buffer.alloc(7))).toBe(true)
  })
})

test('assertions throw, and say that the mistake is ours', () => {
  expect(() => assert(false, 'two is one')).toThrow('assertion failed: two is one')
  expect(() => assert(1, 'fine')).not.toThrow()
  expect(() => unreachable('x' as never)).toThrow('unreachable: x')
})

test('every limit is a number that limits', () => {
  for (const [name, limit] of Object.entries(defaultLimits)) {
    expect(Number.isSafeInteger(limit), name).toBe(true)
    // Zero means never, and only idling may.
    if (name !== 'idleMs') expect(limit, name).toBeGreaterThan(0)
  }
})
