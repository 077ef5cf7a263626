import { expect, test } from 'vitest'
import { Roster } from '../../../protocols/kit/roster.ts'

test('holds what was added and not removed, whatever goes first', () => {
  const roster = new Roster<string>()
  const [a, b, c] = [roster.add('a'), roster.add('b'), roster.add('c')]
  roster.remove(a)
  expect(roster.items().toSorted()).toEqual(['b', 'c'])
  roster.remove(c)
  const d = roster.add('d')
  expect(roster.items().toSorted()).toEqual(['b', 'd'])
  roster.remove(b)
  roster.remove(d)
  expect([roster.size, roster.items()]).toEqual([0, []])
})

test('removes once: what stands at that place now stays', () => {
  const roster = new Roster<string>()
  const [a] = [roster.add('a'), roster.add('b')]
  roster.remove(a)
  roster.remove(a)
  expect(roster.items()).toEqual(['b'])
})

test('what is looked at may go meanwhile', () => {
  const roster = new Roster<number>()
  const places = [1, 2, 3].map((each) => roster.add(each))
  const seen: number[] = []
  for (const item of roster.items()) {
    seen.push(item)
    for (const place of places) roster.remove(place)
  }
  expect([seen, roster.size]).toEqual([[1, 2, 3], 0])
})
