import { expect, test } from 'vitest'
import type { FeedEvent } from '../../../control/api/feed.ts'
import { eventsMessages, inParts, resyncMessages } from '../../../control/feed/feed-messages.ts'

const token = (bytes: number): FeedEvent => ({ kind: 'grant', token: 'x'.repeat(bytes) })

test('parts are about as long as asked for, in order, and lose nothing', () => {
  const items = Array.from({ length: 100 }, (_, index) => `${index}`.padStart(10, '0'))
  const parts = inParts(items, 60)
  expect(parts.flat()).toEqual(items)
  expect(Math.max(...parts.map((part) => part.length))).toBe(5)
  expect(inParts([], 60)).toEqual([[]])
  expect(inParts(['x'.repeat(100), 'y'], 60)).toEqual([['x'.repeat(100)], ['y']])
})

test('what other groups’ rows hold stays out, and their position moves the cursor', () => {
  const rows = [
    { position: 5, group: 'a', event: token(1) },
    { position: 6, group: null, event: token(2) },
    { position: 7, group: 'b', event: token(3) },
  ]
  expect(eventsMessages(rows, 'a', 4, 7)).toEqual([
    { kind: 'events', position: 7, events: [token(1), token(2)] },
  ])
  expect(eventsMessages(rows, 'c', 6, 7)).toEqual([{ kind: 'events', position: 7, events: [] }])
})

test('a part names the position of its own last event, only the last part the whole', () => {
  const rows = Array.from({ length: 400 }, (_, index) => ({
    position: index + 1,
    group: 'a',
    event: token(8_000),
  }))
  const messages = eventsMessages(rows, 'a', 0, 500)
  expect(messages.length).toBeGreaterThan(2)
  let count = 0
  for (const message of messages) {
    if (message.kind !== 'events') throw new Error('not events')
    count += message.events.length
    expect(message.position).toBe(message === messages.at(-1) ? 500 : count)
    expect(JSON.stringify(message).length).toBeLessThan(2 * 1024 * 1024)
  }
  expect(count).toBe(400)
})

test('a resync says which part is the last', () => {
  const parts = resyncMessages(
    9,
    Array.from({ length: 300 }, () => token(8_000)),
  )
  expect(parts.map((part) => part.kind === 'resync' && part.more)).toEqual([
    ...parts.slice(1).map(() => true),
    false,
  ])
  expect(resyncMessages(9, [])).toEqual([{ kind: 'resync', position: 9, events: [], more: false }])
})
