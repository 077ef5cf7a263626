import { expect, test } from 'vitest'
import { parseMoment } from '../../../control/cli/parse-moment.ts'
import { relativeTime, shortBytes, shortDuration } from '../../../control/cli/show-time.ts'

const nowMs = Date.UTC(2026, 2, 1, 14)

test.each([
  [252_000, 'in 4m 12s'],
  [-65_000, '1m 5s ago'],
  [999, 'now'],
  [-999, 'now'],
  [90_061_000, 'in 1d 1h'],
])('%i ms from now is "%s"', (apartMs, words) => {
  expect(relativeTime(nowMs + apartMs, nowMs)).toBe(words)
})

test.each([
  ['1h', nowMs - 3_600_000],
  ['1h30m', nowMs - 5_400_000],
  ['2026-03-01T14:00:00Z', nowMs],
  ['2026-03-01T15:00:00+01:00', nowMs],
  ['2026-03-01', Date.UTC(2026, 2, 1)],
])('since %s', (text, atMs) => {
  expect(parseMoment(text, nowMs)).toBe(atMs)
})

test.each(['', 'yesterday', '1', '1x', '2026-13-01', '2026-03-01T25:00:00Z', '-1h', '1h '])(
  '%j is no moment',
  (text) => {
    expect(() => parseMoment(text, nowMs)).toThrow(expect.objectContaining({ code: 'usage' }))
  },
)

test('short durations and sizes', () => {
  expect([12, 1_500, 3_200_000, 90_000_000].map(shortDuration)).toEqual([
    '12µs',
    '2ms',
    '3.2s',
    '1m 30s',
  ])
  expect([0, 999, 1_000, 12_345, 4_560_000_000].map(shortBytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '12 kB',
    '4.6 GB',
  ])
})
