/** What the histories come by too seldom, and the words. */
import { expect, test } from 'vitest'
import { flow, type Flow } from '../../../control/api/flow.ts'
import { fittingFlows } from '../../../control/flows/choose-flow.ts'
import { agreedTerms } from '../../../control/requests/access-request.ts'
import { askForAccess, askForExtension } from '../../../control/requests/ask.ts'
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
const ask = (flows: Flow[], forMs?: number) =>
  askForAccess(
    { version: 3, flows },
    dev,
    resource,
    {
      resource: 'orders-db',
      level: 'read',
      reason: 'x',
      ...(forMs === undefined ? {} : { forMs }),
    },
    { id: 'request', atMs: 1_000 },
  )

test('the fewest approvals decide, then the order', () => {
  const choose = (...flows: Flow[]) => fittingFlows(flows, dev, resource, 'read')[0]?.name
  expect(choose(named('two', 2), named('one', 1), named('also-one', 1))).toBe('one')
  expect(choose(named('other', 1, { levels: ['write'] }))).toBeUndefined()
  expect(choose(named('other', 1, { who: { groups: ['sales'] } }))).toBeUndefined()
  expect(choose(named('other', 1, { resources: { names: ['users-db'] } }))).toBeUndefined()
})

test('more time than the flow with the fewest approvals gives is decided by the next that gives it', () => {
  const lasting = (longest: string) => ({ duration: { longest } })
  const flows = [
    named('week', 3, lasting('7d')),
    named('hour', 0, { approval: { kind: 'automatic' }, ...lasting('1h') }),
    named('useless', 2, lasting('30m')),
    named('day', 1, lasting('1d')),
  ]
  expect(ask(flows)).toMatchObject({ state: 'approved', forMs: hourMs, flow: { name: 'hour' } })
  expect(ask(flows, hourMs)).toMatchObject({ state: 'approved', flow: { name: 'hour' } })
  expect(ask(flows, hourMs + 1)).toMatchObject({ state: 'pending', flow: { name: 'day' } })
  expect(ask(flows, 24 * hourMs)).toMatchObject({ state: 'pending', flow: { name: 'day' } })
  expect(ask(flows, 25 * hourMs)).toMatchObject({ state: 'pending', flow: { name: 'week' } })
  expect(() => ask(flows, 169 * hourMs)).toThrow(/week gives at most 7d/)
  const grant = { id: 'grant', level: 'read' as const, expiresAtMs: 1_000 + hourMs / 2 }
  const extend = (byMs: number) =>
    askForExtension(
      { version: 3, flows },
      dev,
      resource,
      grant,
      { byMs, reason: 'x' },
      {
        ...{ id: 'request', atMs: 1_000 },
      },
    )
  expect(extend(hourMs / 2)).toMatchObject({ state: 'approved', flow: { name: 'hour' } })
  expect(extend(hourMs)).toMatchObject({ state: 'pending', flow: { name: 'day' } })
  expect(() => extend(168 * hourMs)).toThrow(/more than 7d/)
})

test('a yes lapses when its giver could not say it any more, with its terms, and may be said again', () => {
  const who = (id: string, groups = ['leads']) => ({
    ...{ id, email: `${id}@example.test`, groups, active: true, remoteAddress: '' },
  })
  const [lea, leo, lia] = [who('lea'), who('leo'), who('lia')]
  const rows = (...people: { id: string; groups: string[]; active: boolean; email: string }[]) =>
    new Map(people.map((one) => [one.id, one]))
  const request = ask([named('two', 2)], hourMs)
  const first = approve(request, lea, { comment: '', forMs: 60_000 }, 2_000, new Map())
  for (const gone of [{ ...lea, active: false }, who('lea', ['others'])]) {
    const second = approve(first, leo, { comment: '' }, 3_000, rows(gone))
    expect(second).toMatchObject({ state: 'pending', decisions: [{ lapsed: true }, {}] })
    expect(agreedTerms(second).forMs).toBe(hourMs)
    // Who is back says it anew: a yes that lapsed stays so.
    const back = approve(second, lea, { comment: '' }, 4_000, rows(lea, leo))
    expect(back).toMatchObject({ state: 'approved', decisions: [{ lapsed: true }, {}, {}] })
    expect(approve(second, lia, { comment: '' }, 4_000, rows(gone, leo)).state).toBe('approved')
  }
  // A row that is not there stands for nobody.
  expect(approve(first, leo, { comment: '' }, 3_000, new Map()).state).toBe('pending')
  expect(approve(first, leo, { comment: '' }, 3_000, rows(lea)).state).toBe('approved')
})

test('a tag fits as a whole, never what an object has by nature', () => {
  const choose = (tags: object) =>
    fittingFlows([named('one', 1, { resources: { tags } })], dev, resource, 'read')[0]?.name
  expect(choose({ environment: 'production' })).toBe('one')
  expect(choose({ environment: 'prod' })).toBeUndefined()
  expect(choose({ environment: 'production', tier: 'gold' })).toBeUndefined()
  expect(choose({ constructor: 'x' })).toBeUndefined()
})

test('one’s own yes is refused in these words', () => {
  const decider = { ...dev, active: true, remoteAddress: '' }
  const request = ask([named('one', 1)])
  expect(() => approve(request, decider, { comment: '' }, 2_000, new Map())).toThrow(
    'nobody approves their own request',
  )
})

test('a grant that an admin made long already is moved no further than the flow allows, and never back', () => {
  const request = ask([named('one', 1)])
  expect(extendedEnd(request, 1_000 + hourMs, hourMs / 2, 1_000)).toBe(1_000 + 1.5 * hourMs)
  expect(extendedEnd(request, 1_000 + hourMs, 5 * hourMs, 1_000)).toBe(1_000 + 2 * hourMs)
  expect(() => extendedEnd(request, 1_000 + 3 * hourMs, hourMs, 1_000)).toThrow(/as long as/)
})
