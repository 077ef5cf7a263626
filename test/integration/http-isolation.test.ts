/** Two apps behind one proxy: nothing of one serves the other, and nobody on a connection serves anybody else on it. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { authorityOf, bearerOf, openHttp1, openHttp2, type Told } from '../fakes/http-clients.ts'
import { startWebApp, type Said, type WebApp } from '../fakes/web-app.ts'
import { startHttpStack, type HttpPerson, type HttpStack } from '../http-stack.ts'

let wiki: WebApp
let shop: WebApp
let stack: HttpStack
/** Has the wiki alone. */
let dev: HttpPerson
/** Has both. */
let lead: HttpPerson
let devToken: string
let leadToken: string
const ends: (() => unknown)[] = []

beforeAll(async () => {
  ;[wiki, shop] = await Promise.all([startWebApp('wiki'), startWebApp('shop')])
  stack = await startHttpStack({
    apps: {
      wiki: { port: wiki.port, secret: 'secret-of-wiki', http: { credential: { kind: 'bearer' } } },
      shop: {
        port: shop.port,
        secret: 'secret-of-shop',
        http: { credential: { kind: 'header', name: 'x-shop-key' } },
      },
    },
  })
  ;[dev, lead] = await Promise.all([stack.person('dev'), stack.person('lead')])
  await stack.grant(dev, 'wiki')
  await stack.grant(lead, 'wiki')
  await stack.grant(lead, 'shop')
  ;[devToken, leadToken] = await Promise.all([dev.token(), lead.token()])
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await stack?.stop()
  await wiki?.close()
  await shop?.close()
})

const said = ({ text }: Told): Said => JSON.parse(text) as Said
const claimsOf = (told: Told) =>
  JSON.parse(
    Buffer.from(
      said(told).headers['sallyport-assertion']![0]!.split('.')[1]!,
      'base64url',
    ).toString(),
  ) as { email: string; aud: string; session: string }

test('a grant for one app opens no other, by token or certificate', async () => {
  for (const evidence of [bearerOf(devToken), { certificate: dev }]) {
    const [allowed, refused] = ['wiki', 'shop'].map((app) => openHttp1(stack, app, evidence))
    ends.push(
      () => allowed!.close(),
      () => refused!.close(),
    )
    expect((await allowed!.ask('/mine')).status).toBe(200)
    for (const [method, level] of [
      ['GET', 'read'],
      ['POST', 'write'],
      ['DELETE', 'delete'],
    ] as const) {
      const told = await refused!.ask('/not-mine', { method })
      expect(told.status).toBe(403)
      const hint = expect.stringContaining(`sally request shop --level ${level} --reason`) as string
      expect(JSON.parse(told.text)).toMatchObject({ code: 'access-denied', level, hint })
      const page = await refused!.ask('/not-mine', { method, headers: { accept: 'text/html' } })
      expect(page.text.replaceAll(/<[^>]*>/g, '')).toContain(`sally request shop --level ${level}`)
      expect(page.text).toContain(`/.sallyport/open?level=${level}&amp;`)
    }
    // What is there and what is not are told apart by nothing but the name.
    const named = { 'sallyport-level': 'admin' }
    const nothing = openHttp1(stack, 'nothing', evidence)
    ends.push(() => nothing.close())
    const [one, other] = [
      await refused!.ask('/not-mine', { headers: named }),
      await nothing.ask('/not-mine', { headers: named }),
    ]
    expect(one.text).toContain('sally request shop --level admin')
    expect(other.text).toBe(one.text.replaceAll('shop', 'nothing'))
  }
  expect(shop.arrived).toHaveLength(0)
})

test('each app is shown its own secret and its own audience, and no session is shared', async () => {
  const [first, second] = ['wiki', 'shop'].map((app) => openHttp1(stack, app, bearerOf(leadToken)))
  ends.push(
    () => first!.close(),
    () => second!.close(),
  )
  const [atWiki, atShop] = [await first!.ask('/secrets'), await second!.ask('/secrets')]
  expect(said(atWiki).headers['authorization']).toEqual(['Bearer secret-of-wiki'])
  expect(said(atWiki).headers['x-shop-key']).toBeUndefined()
  expect(said(atShop).headers['x-shop-key']).toEqual(['secret-of-shop'])
  expect(said(atShop).headers['authorization']).toBeUndefined()
  expect(claimsOf(atWiki).aud).toBe('https://wiki.access.test')
  expect(claimsOf(atShop).aud).toBe('https://shop.access.test')
  expect(claimsOf(atWiki).session).not.toBe(claimsOf(atShop).session)
})

test('cookies of an app are for its host alone; ours never arrive, and no app sets them', async () => {
  const client = openHttp1(stack, 'wiki', bearerOf(leadToken))
  ends.push(() => client.close())
  const cookie = '__Host-sallyport=x; own=1; __Host-sallyport-visit-0123abcd=y; b=2'
  const got = await client.ask('/cookies', { headers: { cookie } })
  expect(got.headers['set-cookie']).toEqual(['who=wiki; Path=/', 'other=1'])
  expect(said(got).headers['cookie']).toEqual(['own=1; b=2'])
})

test('two people alternate on one connection, and neither is taken for the other', async () => {
  const client = openHttp1(stack, 'wiki')
  ends.push(() => client.close())
  const multiplexed = await openHttp2(stack, 'wiki')
  ends.push(() => multiplexed.close())
  const sessions = new Map<string, Set<string>>()
  const people = [
    [dev, devToken],
    [lead, leadToken],
  ] as const
  for (let turn = 0; turn < 4; turn++) {
    const [person, token] = people[turn % 2]!
    const headers = { authorization: `Bearer ${token}` }
    for (const told of [
      await client.ask(`/turn/${turn}`, { headers }),
      await multiplexed.ask(`/turn/${turn}`, headers),
    ]) {
      const claims = claimsOf(told)
      expect(claims.email).toBe(person.email)
      sessions.set(person.email, (sessions.get(person.email) ?? new Set()).add(claims.session))
    }
    // In between somebody who shows nothing inherits nothing.
    expect((await client.ask('/turn/nobody')).status).toBe(401)
    expect((await multiplexed.ask('/turn/nobody')).status).toBe(401)
  }
  const all = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const [person, token] = people[index % 2]!
      const told = await multiplexed.ask('/at-once', { authorization: `Bearer ${token}` })
      return claimsOf(told).email === person.email
    }),
  )
  expect(all.every(Boolean)).toBe(true)
  expect([...sessions.values()].map(({ size }) => size)).toEqual([1, 1])
  expect(client.connections).toBe(1)
})

test('a cut of one of them leaves the other on the same connection', async () => {
  const other = await stack.person('other')
  const grant = await stack.grant(other, 'wiki')
  const token = await other.token()
  const client = await openHttp2(stack, 'wiki')
  ends.push(() => client.close())
  const [theirs, mine] = [token, devToken].map((each) => ({ authorization: `Bearer ${each}` }))
  const events = client.start('/events', mine)
  await new Promise((resolve) => events.once('data', resolve))
  const cut = client.start('/events', theirs)
  await new Promise((resolve) => cut.once('data', resolve))
  cut.resume()
  const closed = new Promise((resolve) => cut.once('close', resolve))
  await stack.api.call('grantRevoke', { params: { id: grant.id }, body: { reason: 'over' } })
  await closed
  await new Promise((resolve) => events.once('data', resolve))
  expect((await client.ask('/after', mine)).status).toBe(200)
  expect((await client.ask('/after', theirs)).status).toBe(403)
  events.close()
})

test('at the domain itself, a page says that apps have names', async () => {
  const client = await openHttp2(stack, '', bearerOf(leadToken))
  const older = openHttp1(stack, '', bearerOf(leadToken))
  ends.push(
    () => client.close(),
    () => older.close(),
  )
  const page = await older.ask('/', { headers: { accept: 'text/html' } })
  expect(page.status).toBe(404)
  expect(page.text).toMatch(/Each app has a name of its own[^]*https:\/\/NAME\./)
  const problem = await client.ask('/')
  expect(problem.status).toBe(404)
  expect(JSON.parse(problem.text)).toMatchObject({ code: 'name-missing' })
  // It is no way to an app.
  expect((await client.ask('/', { ':authority': authorityOf(stack, 'wiki') })).status).toBe(421)
})

test('a connection is for the host that TLS named: 421 for any other', async () => {
  const client = await openHttp2(stack, 'wiki', bearerOf(leadToken))
  const older = openHttp1(stack, 'wiki', bearerOf(leadToken))
  ends.push(
    () => client.close(),
    () => older.close(),
  )
  const before = [wiki.arrived.length, shop.arrived.length]
  for (const app of ['shop', 'nothing', 'wiki.shop']) {
    const authority = authorityOf(stack, app)
    expect((await client.ask('/', { ':authority': authority })).status, authority).toBe(421)
    expect((await older.ask('/', { headers: { host: authority } })).status, authority).toBe(421)
  }
  expect([wiki.arrived.length, shop.arrived.length]).toEqual(before)
  // The connection is good for its own host after all.
  expect((await client.ask('/own')).status).toBe(200)
  expect((await older.ask('/own')).status).toBe(200)
})
