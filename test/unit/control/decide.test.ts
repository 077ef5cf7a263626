/** What the histories come by too seldom, and the words. */
import { expect, test } from 'vitest'
import { flow, type Flow } from '../../../control/api/flow.ts'
import { chooseFlow } from '../../../control/flows/choose-flow.ts'
import { askForAccess } from '../../../control/requests/ask.ts'
import { approve, extendedEnd } from '../../../control/requests/decide.ts'

const hourMs = 3_600_000
const dev = { id: 'dev', email: 'dev@example.test', groups: ['engineers', 'leads'] }
const resource = { name: 'orders-db', tags: { environment: 'production' }, levels: { read: {} } }
const named = (name: string, count: number, more: object = {}): Flow =>
  flow.parse({
    ...{ name, who: { groups: ['engineers'] }, resources: { names: ['orders-db'] } },
    ...{ levels: ['read'], duration: { longest: '2h' } },
    approval: { kind: 'people', count, from: { groups: ['leads'] } },
    ...more,
  })
const ask = (flows: Flow[]) =>
  askForAccess(
    { version: 3, flows },
    dev,
    resource,
    { resource: 'orders-db', level: 'read', reason: 'x' },
    { id: 'request', atMs: 1_000 },
  )

test('the fewest approvals decide, then the order', () => {
  const choose = (...flows: Flow[]) => chooseFlow(flows, dev, resource, 'read')?.name
  expect(choose(named('two', 2), named('one', 1), named('also-one', 1))).toBe('one')
  expect(choose(named('other', 1, { levels: ['write'] }))).toBeUndefined()
  expect(choose(named('other', 1, { who: { groups: ['sales'] } }))).toBeUndefined()
  expect(choose(named('other', 1, { resources: { names: ['users-db'] } }))).toBeUndefined()
})

test('a tag fits as a whole, never what an object has by nature', () => {
  const choose = (tags: object) =>
    chooseFlow([named('one', 1, { resources: { tags } })], dev, resource, 'read')?.name
  expect(choose({ environment: 'production' })).toBe('one')
  expect(choose({ environment: 'prod' })).toBeUndefined()
  expect(choose({ environment: 'production', tier: 'gold' })).toBeUndefined()
  expect(choose({ constructor: 'x' })).toBeUndefined()
})

test('one’s own yes is refused in these words', () => {
  const decider = { ...dev, active: true, remoteAddress: '' }
  const request = ask([named('one', 1)])
  expect(() => approve(request, decider, { comment: '' }, 2_000)).toThrow(
    'nobody approves their own request',
  )
})

test('a grant that an admin made long already is moved no further than the flow allows, and never back', () => {
  const request = ask([named('one', 1)])
  expect(extendedEnd(request, 1_000 + hourMs, hourMs / 2, 1_000)).toBe(1_000 + 1.5 * hourMs)
  expect(extendedEnd(request, 1_000 + hourMs, 5 * hourMs, 1_000)).toBe(1_000 + 2 * hourMs)
  expect(() => extendedEnd(request, 1_000 + 3 * hourMs, hourMs, 1_000)).toThrow(/as long as/)
})
