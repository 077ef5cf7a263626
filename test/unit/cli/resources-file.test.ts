import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { InvalidInput } from '../../../control/api/problem.ts'
import { readResourcesFile } from '../../../control/cli/read-resources-file.ts'
import { placeIssues } from '../../../control/cli/read-yaml-file.ts'

const good = `resources:
  - name: orders-db
    protocol: postgres
    address: { host: db.internal, port: 5432 }
    tls: { mode: verify-full }
    levels:
      read: { account: orders_read, secret: sealed:orders-db/read }
`
function issuesOf(text: string): string[] {
  try {
    readResourcesFile(text, 'resources.yaml')
  } catch (error) {
    if (!(error instanceof InvalidInput)) throw error
    expect(error.code).toBe('config-invalid')
    return error.issues.map(({ path, line, column }) => `${line}:${column} ${path}`)
  }
  return []
}

test('a good file is read, with its defaults', () => {
  const { resources } = readResourcesFile(good, 'resources.yaml')
  expect(resources).toMatchObject([{ name: 'orders-db', group: 'default', tags: {} }])
})

test('what the README says of apps is a good file', () => {
  const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
  const [, chapter = ''] = readme.split('\n## Web apps and APIs\n')
  const [, yaml = ''] = /```yaml\n([^]*?)```/.exec(chapter) ?? []
  const [app] = readResourcesFile(yaml, 'README.md').resources
  // The limits there are the defaults.
  const { resources } = readResourcesFile(yaml.replace(/ {6}limits:[^]*/, ''), 'README.md')
  expect(app?.http?.limits).toEqual(resources[0]?.http?.limits)
  expect(app?.http?.recording).toEqual(
    readResourcesFile(yaml.replace(/ {6}recording:.*/, ''), 'README.md').resources[0]?.http
      ?.recording,
  )
})

describe('mistakes are named with their line and column', () => {
  test.each([
    ['a value of the schema', good.replace('5432', '543210'), '4:41 resources[0].address.port'],
    ['a name', good.replace('orders-db\n', 'Orders_DB\n'), '2:11 resources[0].name'],
    ['a protocol', good.replace('postgres', 'gopher'), '3:15 resources[0].protocol'],
    ['an unknown key', `${good}    colour: blue\n`, '8:5 resources[0].colour'],
    ['an unknown key deep inside', good.replace('mode:', 'moed:'), '5:12 resources[0].tls.moed'],
    [
      'a key that is missing, at what lacks it',
      good.replace('    protocol: postgres\n', ''),
      '2:5 resources[0].protocol',
    ],
    ['an empty file', '', '1:1 resources'],
    ['a list at the top', '- a\n', '1:1 '],
    [
      'a reference that is none',
      good.replace('sealed:', ''),
      '7:45 resources[0].levels.read.secret',
    ],
  ])('%s', (_, text, place) => {
    expect(issuesOf(text)).toContain(place)
  })

  test('of YAML itself', () => {
    expect(issuesOf('resources:\n  - name: "open\n')[0]).toMatch(/^\d+:\d+ $/)
    expect(issuesOf('resources: []\nresources: []\n')[0]).toMatch(/^2:1 $/)
    expect(issuesOf('resources: [*nobody]\n')[0]).toMatch(/^1:13 $/)
  })

  test('a name that is there twice, at the second', () => {
    expect(issuesOf(good + good.slice(good.indexOf('  -')))).toEqual(['8:11 resources[1].name'])
  })

  test('several at once, and behind an alias', () => {
    const text = good.replace('5432', '0').replace('orders_read', '""')
    expect(issuesOf(text)).toEqual([
      '4:41 resources[0].address.port',
      '7:24 resources[0].levels.read.account',
    ])
    const alias = good.replace(
      '{ host: db.internal, port: 5432 }',
      '&a { host: db.internal, port: 0 }',
    )
    expect(issuesOf(alias)).toEqual(['4:44 resources[0].address.port'])
  })
})

test('a bomb of aliases is refused', () => {
  const lines = ['a: &a [x, x, x, x, x, x, x, x, x, x]']
  for (const pair of ['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh']) {
    const [one = '', other = ''] = pair.split('')
    lines.push(`${other}: &${other} [${Array.from({ length: 10 }, () => `*${one}`).join(', ')}]`)
  }
  expect(() => readResourcesFile(lines.join('\n'), 'bomb.yaml')).toThrow()
})

test('issues that control names are found again in the file', () => {
  const issues = [{ path: 'file.resources.0.address.port', message: 'is taken' }]
  expect(placeIssues(good, issues)).toEqual([
    { path: 'file.resources.0.address.port', message: 'is taken', line: 4, column: 41 },
  ])
})
