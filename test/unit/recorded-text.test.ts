/** What recordings showed, for search: control does this for all recordings, so nobody's may hold it up. */
import { expect, test } from 'vitest'
import { RecordedText } from '../../control/audit/recorded-text.ts'

const piece = { sequence: 1, atUs: 5, recordingAtUs: 2 }

function textOf(shown: string): string[] {
  const text = new RecordedText(Buffer.alloc(0), 0)
  text.add(Buffer.from(shown), piece)
  text.finish()
  return text.rows.map((row) => row.text)
}

test('blanks at the ends of lines are no text', () => {
  expect(textOf('  one  \t\r\n\n two \r\n')).toEqual(['one\n\n two'])
})

test('blanks without an end take no time', () => {
  expect(textOf(' '.repeat(4 * 1024 * 1024))).toEqual([])
  const apart = textOf(`${' '.repeat(15_000)}x`.repeat(200))
  expect(apart.join('').replaceAll(' ', '')).toBe('x'.repeat(200))
})
