/** What somebody who is let in could do to the API with what they send: nothing fails, and nothing of others comes back. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { routes, type Route, type RouteName } from '../../control/api/routes.ts'
import { encodeCursor } from '../../control/audit/cursor.ts'
import {
  resourceNamed,
  startTestControl,
  type RunningSite,
  type TestPerson,
  type TestProxy,
} from './running-control.ts'

const unknownId = '00000000-0000-4000-8000-000000000000'
const names = Object.keys(routes) as RouteName[]
let site: RunningSite
let whole: TestPerson
let dev: TestPerson
let other: TestPerson
let proxy: TestProxy

beforeAll(async () => {
  site = await startTestControl()
  whole = await site.addSignedIn('whole@example.test', ['engineer', 'admin', 'auditor'])
  dev = await site.addPerson('dev@example.test', ['engineer'])
  other = await site.addPerson('oncall@example.test', ['engineer'])
  proxy = await site.addProxy()
  const file = { resources: [resourceNamed('orders-db'), resourceNamed('users-db')] }
  await site.admin.call('resourcesApply', { body: { file } })
})
afterAll(() => site.close())

const make = (person: string, resource: string) =>
  site.admin.call('grantMake', {
    body: { person, resource, level: 'read', forMs: 3_600_000, reason: 'a test' },
  })

const nasty: readonly unknown[] = [
  ...['', '\0', 'a\0b', '\ud800', "'; drop table people; --", '%', '../../etc/passwd', '{id}'],
  ...['\u202e', '1e308', '-1', '9007199254740991', '9223372036854775808', 'NaN', 'null', '[]'],
  ...[null, true, -1, 1.5, 9_007_199_254_740_991, 1e300, [], [[]], {}, { toString: 'x' }],
  'x'.repeat(5_000),
]

describe.each(names)('%s', (name) => {
  const route: Route = routes[name]
  // A sign-out that works is the end of whoever calls it.
  let leaving: TestPerson | undefined
  beforeEach(async ({ task }) => {
    if (name !== 'logout') return
    leaving = await site.addPerson(`${task.id.replace(/\W/g, '')}@example.test`, ['engineer'])
  })
  const caller = () => (route.access === 'proxy' ? proxy : (leaving ?? whole))
  const plain = (): string => fill(unknownId)
  const fill = (value: string): string => route.path.replace(/\{\w+\}/g, encodeURIComponent(value))
  const properties = (shape: unknown): string[] =>
    Object.keys((shape as { shape?: object } | undefined)?.shape ?? {})

  test('answers what makes no sense, and never fails at it', async () => {
    const asked: [string, unknown][] = []
    for (const value of nasty) {
      const text = typeof value === 'string' ? value : JSON.stringify(value)
      if (route.params !== undefined && text.isWellFormed()) asked.push([fill(text), {}])
      for (const key of properties(route.query)) {
        if (!text.isWellFormed()) continue
        asked.push([`${plain()}?${key}=${encodeURIComponent(text)}`, undefined])
        if (key === 'cursor') asked.push([`${plain()}?cursor=${encodeCursor([value])}`, undefined])
      }
      if (route.body === undefined) continue
      asked.push([plain(), value])
      for (const key of properties(route.body)) asked.push([plain(), { [key]: value }])
    }
    for (const key of properties(route.query)) {
      asked.push([`${plain()}?${key}=1&${key}=2&${key}[a]=3`, undefined])
    }
    const body = (value: unknown): unknown => (route.method === 'GET' ? undefined : value)
    for (let at = 0; at < asked.length; at += 8) {
      const answers = await Promise.all(
        asked.slice(at, at + 8).map(async ([path, value]) => ({
          path,
          value,
          answer: await site.ask(caller(), route.method, path, body(value)),
        })),
      )
      for (const { path, value, answer } of answers) {
        const where = `${path.slice(0, 200)} ${JSON.stringify(value)?.slice(0, 100)}`
        // No identity provider is configured here, and that is what it says.
        const unavailable = (answer.body as { code?: string }).code === 'sign-in-unavailable'
        if (name !== 'readiness' && !unavailable) expect(answer.status, where).toBeLessThan(500)
        expect(JSON.stringify(answer.body)).not.toMatch(/select |\.ts:|node_modules|syntax error/)
      }
    }
  })

  if (route.body === undefined) return
  test('takes no field that it does not know', async () => {
    for (const extra of [
      { realm: 'other' },
      { state: 'active', roles: ['admin'], id: unknownId },
      { madeBy: 'admin@example.test', expiresAtMs: 9e15, revision: 9 },
      JSON.parse('{"__proto__": {"roles": ["admin"]}, "constructor": {"prototype": {}}}') as object,
    ]) {
      const { status } = await site.ask(caller(), route.method, plain(), extra)
      expect(status).toBe(400)
    }
  })
})

test('a person cannot be made, or a grant, with more than the shape says', async () => {
  const person = { email: 'mass@example.test', roles: ['engineer'] }
  for (const more of [{ state: 'active' }, { realm: 'x' }, { id: unknownId }, { validFromMs: 0 }]) {
    const { status } = await site.ask(whole, 'POST', '/v1/people', { ...person, ...more })
    expect(status).toBe(400)
  }
  const grant = { person: 'dev@example.test', resource: 'orders-db', level: 'read', forMs: 60_000 }
  for (const more of [{ madeBy: 'x@example.test' }, { personId: unknownId }, { revision: 2 }]) {
    const body = { ...grant, reason: 'x', ...more }
    expect((await site.ask(whole, 'POST', '/v1/grants', body)).status).toBe(400)
  }
})

test('what belongs to somebody else looks like what does not exist, to the byte', async () => {
  const theirs = await make('oncall@example.test', 'users-db')
  const session = '11111111-2222-4333-8444-555555555555'
  await site.running.stores.audit.query(
    `insert into audit_chains (realm, proxy_id, epoch, last_batch, last_sequence, last_link, entries, created_at_ms, received_at_ms)
     values ('default', $1, $1, 1, 1, '', 1, 1, 1)`,
    [unknownId],
  )
  await site.running.stores.audit.query(
    `insert into sessions (realm, session_id, proxy_id, chain_id, person_id, person_email, grant_id, grant_revision, resource,
       protocol, level, account, upstream, remote_address, certificate_serial, attributes, retention_class, durability,
       admitted_by, expires_at_ms, opened_at_ms, received_at_ms)
     select 'default', $1, $2, chain_id, $3, 'oncall@example.test', $4, 1, 'users-db', 'postgres', 'read', 'reader', 'x',
       '127.0.0.1', '1', '{}', 'standard', 'written', 'control', 1, 1, 1
     from audit_chains where proxy_id = $2`,
    [session, unknownId, other.person.id, theirs.id],
  )
  expect((await site.ask(other, 'GET', `/v1/sessions/${session}`)).status).toBe(200)
  for (const [path, id] of [
    ['/v1/grants/', theirs.id],
    ['/v1/sessions/', session],
  ] as const) {
    const unknown = await site.ask(dev, 'GET', `${path}${unknownId}`)
    const forbidden = await site.ask(dev, 'GET', `${path}${id}`)
    expect(forbidden.status).toBe(404)
    expect(forbidden.body).toEqual(unknown.body)
  }
  // Neither filters nor other people's places in a list widen what one sees.
  const lists = ['/v1/grants?state=all', '/v1/sessions?state=all'] as const
  for (const list of lists) {
    for (const more of [
      '&person=oncall@example.test',
      '&resource=users-db',
      `&cursor=${encodeCursor([9_007_199_254_740_991, unknownId])}`,
      `&cursor=${encodeCursor([9_007_199_254_740_991, theirs.id])}`,
      '&limit=1000',
    ]) {
      const { body, status } = await site.ask(dev, 'GET', `${list}${more}`)
      expect(status, more).toBe(200)
      expect(JSON.stringify(body)).not.toContain('oncall@example.test')
    }
  }
  const { body } = await site.ask(dev, 'GET', `/v1/sessions?grant=${theirs.id}`)
  expect(body['items']).toEqual([])
  const resources = await site.ask(dev, 'GET', `/v1/resources?cursor=${encodeCursor('a')}`)
  expect(JSON.stringify(resources.body)).not.toContain('users-db')
})

test('a proxy reads nothing of people, and people speak for no proxy', async () => {
  for (const name of names) {
    const route: Route = routes[name]
    if (route.access === 'anyone') continue
    const path = route.path.replace(/\{\w+\}/g, unknownId)
    const wrong = route.access === 'proxy' ? whole : proxy
    const { status, body } = await site.ask(wrong, route.method, path)
    expect(status, name).toBe(401)
    expect(JSON.stringify(body)).not.toContain('@example.test')
  }
})
