import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatTable, type Column } from '../../../control/cli/table.ts'
import { shortIds } from '../../../control/cli/short-ids.ts'
import { textWidth } from '../../../control/cli/text-width.ts'

const columns: Column[] = [
  { header: 'ID' },
  { header: 'ROWS', align: 'right' },
  { header: 'STATEMENT', shrinks: true },
]
const plain = { columns: undefined, colour: false }

test('columns line up and nothing is cut where the output is no terminal', () => {
  const long = 'x'.repeat(300)
  expect(
    formatTable(
      columns,
      [
        ['a', 12, 'select 1'],
        ['bcd', 3, long],
      ],
      plain,
    ),
  ).toBe(['ID   ROWS  STATEMENT', 'a      12  select 1', `bcd     3  ${long}`].join('\n'))
})

test('on a terminal the columns that may shrink are cut, the others are whole', () => {
  const table = formatTable(columns, [['identifier', 1_000, 'select * from orders']], {
    columns: 30,
    colour: false,
  })
  expect(table.split('\n')[1]).toBe('identifier  1000  select * fr…')
})

test('where they do not all fit, empty and spare columns go before another is cut short', () => {
  const many: Column[] = [
    { header: 'ID' },
    { header: 'FROM', shrinks: true, spare: 2 },
    { header: 'NOTE', spare: 1 },
    { header: 'ROWS', align: 'right', spare: 1 },
    { header: 'STATEMENT', shrinks: true, widthMin: 20 },
  ]
  const rows = [['a1', '10.0.0.1', '', 12, 'select * from orders where id = 7']]
  const line = (width: number): string | undefined =>
    formatTable(many, rows, { columns: width, colour: false }).split('\n')[1]
  expect(line(80)).toBe('a1  10.0.0.1          12  select * from orders where id = 7')
  expect(line(56)).toBe('a1  10.0.0.1    12  select * from orders where id = 7')
  expect(line(40)).toBe('a1  10.0.0.1    12  select * from order…')
  expect(line(35)).toBe('a1    12  select * from orders whe…')
  expect(line(28)).toBe('a1  select * from orders wh…')
  expect(line(20)).toBe('a1  select * from o…')
})

test('no line is wider than the terminal, whatever is in it', () => {
  const row = fc.tuple(fc.string(), fc.nat(), fc.string({ unit: 'grapheme', maxLength: 200 }))
  fc.assert(
    fc.property(
      fc.array(row, { maxLength: 5 }),
      fc.integer({ min: 20, max: 120 }),
      (rows, width) => {
        for (const line of formatTable(columns, rows, { columns: width, colour: false }).split(
          '\n',
        )) {
          expect(textWidth(line)).toBeLessThanOrEqual(width)
        }
      },
    ),
  )
})

test('a cell cannot carry colours or lines of its own, but the table can colour it', () => {
  const rows = [['a', 1, '\u001b[31mred\n']]
  expect(formatTable(columns, rows, { columns: 80, colour: false })).not.toContain('\u001b')
  const coloured = [[{ text: 'a', style: 'green' as const }, 1, 'x']]
  expect(formatTable(columns, coloured, { columns: 80, colour: true })).toContain('\u001b[32ma')
  expect(formatTable(columns, coloured, plain)).not.toContain('\u001b')
})

test('short ids tell the ids of a list apart', () => {
  const ids = ['0190aaaa-bbb1-7000-8000-000000000001', '0190aaaa-bbb2-7000-8000-000000000002']
  expect(ids.map(shortIds(ids))).toEqual(['0190aaaa-bbb1', '0190aaaa-bbb2'])
  expect(shortIds([ids[0]!])(ids[0]!)).toBe('0190aaaa')
  expect(shortIds([])('0190aaaa-bbb1')).toBe('0190aaaa')
})
