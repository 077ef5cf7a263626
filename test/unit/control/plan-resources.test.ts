import { expect, test } from 'vitest'
import { resource, type Resource } from '../../../control/api/resource.ts'
import { planResources } from '../../../control/resources/plan-resources.ts'

const make = (name: string, more: Record<string, unknown> = {}): Resource =>
  resource.parse({
    name,
    protocol: 'postgres',
    address: { host: 'db', port: 5432 },
    levels: { read: { account: 'r', secret: 'env:R' }, write: { account: 'w', secret: 'env:W' } },
    ...more,
  })

test('the order of keys is no difference', () => {
  const one = make('a', { tags: { x: '1', y: '2' } })
  const two = JSON.parse(JSON.stringify({ ...one, tags: { y: '2', x: '1' } })) as Resource
  expect(planResources([one], [two], false)[0]!.action).toBe('keep')
})

test('each field that differs is named with its old and new value', () => {
  const change = planResources(
    [make('a')],
    [make('a', { warnBeforeMs: [60_000], outage: { policy: 'cut' }, owner: 'team-x' })],
    false,
  )[0]!
  expect(change.details).toEqual([
    'outage.policy: keep → cut',
    'owner: (none) → team-x',
    'warnBeforeMs: [300000,60000] → [60000]',
  ])
  expect(change.endedLevels).toEqual([])
})

test('what is not in the file stays, unless it is pruned', () => {
  const [kept] = planResources([make('a')], [], false)
  expect(kept!.action).toBe('keep')
  const [removed] = planResources([make('a')], [], true)
  expect(removed).toMatchObject({ action: 'remove', endedLevels: ['read', 'write'] })
})

test('a level that goes ends; a move to other proxies ends all', () => {
  const one = make('a')
  const less = { ...one, levels: { read: one.levels.read! } }
  expect(planResources([one], [less], false)[0]!.endedLevels).toEqual(['write'])
  const moved = make('a', { group: 'edge' })
  expect(planResources([one], [moved], false)[0]!.endedLevels).toEqual(['read', 'write'])
  const account = make('a', { levels: { ...one.levels, read: { account: 'q', secret: 'env:R' } } })
  expect(planResources([one], [account], false)[0]).toMatchObject({
    details: ['levels.read.account: r → q'],
    endedLevels: [],
  })
})
