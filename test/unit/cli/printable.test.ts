import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { printable, printableJson, printableLines } from '../../../control/cli/printable.ts'
import { textWidth, truncateToWidth } from '../../../control/cli/text-width.ts'

describe('text from a server', () => {
  test.each([
    ['\u001b[2J', '\\x1b[2J'],
    ['a\nb\tc\r', 'a\\nb\\tc\\r'],
    ['\u009b31m', '\\u009b31m'],
    ['\u007f', '\\x7f'],
    ['user\u202enimda', 'user\\u202enimda'],
    ['zero\u200bwidth', 'zero\\u200bwidth'],
    ['\u2028', '\\u2028'],
    ['\ud800', '\\ud800'],
    ['\u{e0041}', '\\u{e0041}'],
    ['select ’ünïcode’ 漢字 🙂', 'select ’ünïcode’ 漢字 🙂'],
  ])('%j is shown as %s', (text, shown) => {
    expect(printable(text)).toBe(shown)
  })

  test('no control character is left of any text, and JSON stays the same value', () => {
    // oxlint-disable-next-line no-control-regex
    const control = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(printable(text)).not.toMatch(control)
        expect(printableJson({ text })).not.toMatch(control)
        expect(JSON.parse(printableJson({ text }))).toEqual({ text })
      }),
    )
  })

  test('messages of several lines keep their line feeds', () => {
    expect(printableLines('one\ntwo\u0007')).toBe('one\ntwo\\x07')
  })
})

describe('width', () => {
  test.each([
    ['abc', 3],
    ['漢字', 4],
    ['e\u0301', 1],
    ['🙂', 2],
    ['👩‍👩‍👧', 2],
    ['…', 1],
  ])('%s takes %i columns', (text, width) => {
    expect(textWidth(text)).toBe(width)
  })

  test('a cut text never takes more columns than there are', () => {
    expect(truncateToWidth('orders-database', 8)).toBe('orders-…')
    expect(truncateToWidth('漢字漢字', 4)).toBe('漢…')
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(20), (text, width) => {
        expect(textWidth(truncateToWidth(text, width))).toBeLessThanOrEqual(width)
      }),
    )
  })
})
