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

test('bytes that are no text are left out, a letter of another encoding is not', () => {
  const text = new RecordedText(Buffer.alloc(0), 0)
  text.add(Buffer.from(Array.from({ length: 20_000 }, (_, index) => (index * 7919) % 256)), piece)
  text.add(Buffer.from('\n'), piece)
  text.finish()
  expect(text.rows).toEqual([])
  const latin = new RecordedText(Buffer.alloc(0), 0)
  latin.add(Buffer.from('cat: Müller.txt: No such file', 'latin1'), piece)
  latin.finish()
  expect(latin.rows).toHaveLength(1)
})
