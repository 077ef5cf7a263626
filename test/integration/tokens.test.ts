/** Tokens at control, over both stores: what they stand for, when they end, who may do what with them. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ToProxy } from '../../control/api/feed.ts'
import type { Level } from '../../control/api/names.ts'
import { tokenDigest } from '../../control/api/token-form.ts'
import { trimTokens } from '../../control/tokens/trim-tokens.ts'
import { follow, type FeedClient } from './feed-client.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import {
  resourceNamed,
  startTestControl,
  type RunningSite,
  type TestPerson,
  type TestProxy,
} from './running-control.ts'
import { verifyControlChain } from './verify-control-chain.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const nobody = '00000000-0000-4000-8000-000000000000'
const reason = { reason: 'a test' }

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

let lastRequest = 0
/** As a proxy asks when a client shows a token. */
async function redeem(client: FeedClient, token: string, more: Record<string, unknown> = {}) {
  const requestId = ++lastRequest
  const { personEmail, ...question } = more
  const digest = (tokenDigest('connect', token) ?? Buffer.alloc(32)).toString('hex')
  client.send({
    kind: 'confirm',
    requestId,
    sessionId: randomUUID(),
    connectToken: {
      digest,
      remoteAddress: '192.0.2.7',
      ...(personEmail === undefined ? {} : { personEmail: personEmail as string }),
    },
    resource: 'orders-db',
    wanted: '',
    protocol: 'postgres',
    ...question,
  })
  const fits = (message: ToProxy) =>
    (message.kind === 'confirmed' || message.kind === 'denied') && message.requestId === requestId
  return Promise.any([client.next('confirmed', fits), client.next('denied', fits)])
}

const target = (site: RunningSite) => ({
  url: site.running.url,
  authorityPem: site.running.control.keys.authorities.control.certificatePem,
})

describe.each(['embedded', 'postgres'] as const)('tokens over the %s store', (engine) => {
  let site: RunningSite
  let admin: TestPerson
  let auditor: TestPerson
  let proxy: TestProxy
  let client: FeedClient
  let people = 0

  beforeAll(async () => {
    site = await startTestControl(
      engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() },
    )
    admin = await site.addPerson('lead@example.test', ['admin'])
    auditor = await site.addPerson('auditor@example.test', ['auditor'])
    proxy = await site.addProxy()
    await site.admin.call('resourcesApply', {
      body: { file: { resources: [resourceNamed('orders-db'), resourceNamed('users-db')] } },
    })
    client = await follow(target(site), proxy)
  })
  afterAll(async () => {
    client?.close()
    await site.close()
  })

  const newPerson = () => site.addPerson(`dev-${++people}@example.test`, ['engineer'])
  const grant = (person: TestPerson, level: Level = 'read', resource = 'orders-db') =>
    site.admin.call('grantMake', {
      body: { person: person.person.email, resource, level, forMs: 2 * hourMs, ...reason },
    })
  const granted = async () => {
    const person = await newPerson()
    await grant(person)
    return person
  }
  const connectToken = (person: TestPerson, level?: Level, resource = 'orders-db') =>
    person.api.call('connectTokenMake', {
      body: { resource, ...(level === undefined ? {} : { level }) },
    })
  const bearer = (token: string, path = '/v1/whoami', method = 'GET', body?: unknown) =>
    site.ask({}, method, path, body, { authorization: `Bearer ${token}` })

  describe('connect tokens', () => {
    test('are redeemed once, for their person, with the grant that they are for', async () => {
      const dev = await granted()
      await grant(dev, 'write')
      const made = await connectToken(dev, 'read')
      expect(made).toMatchObject({
        hostname: 'orders-db.access.example.test',
        user: `${dev.person.email}~orders-db`,
      })
      expect(await redeem(client, made.token)).toMatchObject({
        kind: 'confirmed',
        redeemed: {
          tokenId: made.id,
          personId: dev.person.id,
          personEmail: dev.person.email,
          level: 'read',
        },
      })
      expect(await redeem(client, made.token)).toMatchObject({ why: 'token-used' })
    })

    test('are refused late, elsewhere, of another, unknown; and are then as good as before', async () => {
      const dev = await granted()
      await grant(dev, 'read', 'users-db')
      const { token, expiresAtMs } = await connectToken(dev)
      for (const [more, why] of [
        [{ resource: 'users-db' }, 'token-elsewhere'],
        [{ resource: 'nothing' }, 'token-elsewhere'],
        [{ personEmail: 'lead@example.test' }, 'token-of-another'],
        [{ wanted: 'write' }, 'no-grant'],
        [{ wanted: 'writer' }, 'no-grant'],
        [{ grantId: nobody, wanted: 'admin' }, 'no-grant'],
      ] as const) {
        expect(await redeem(client, token, more), JSON.stringify(more)).toMatchObject({ why })
      }
      expect(await redeem(client, `sp1_${'x'.repeat(32)}`)).toMatchObject({ why: 'token-unknown' })
      site.clock.shiftMs = expiresAtMs - Date.now()
      expect(await redeem(client, token)).toMatchObject({ why: 'token-late' })
      site.clock.shiftMs = 0
      const inTime = await redeem(client, token, {
        wanted: 'reader',
        personEmail: dev.person.email.toUpperCase(),
      })
      expect(inTime.kind).toBe('confirmed')
    })

    test('need a live grant when they are made and when they are used', async () => {
      const dev = await newPerson()
      const none = { code: 'not-found', hint: expect.stringContaining('sally request') }
      await expect(connectToken(dev)).rejects.toMatchObject(none)
      const first = await grant(dev)
      await expect(connectToken(dev, 'write')).rejects.toMatchObject(none)
      await expect(connectToken(dev, 'read', 'users-db')).rejects.toMatchObject(none)
      await expect(connectToken(dev, 'read', 'no-such-db')).rejects.toMatchObject(none)
      const { token } = await connectToken(dev)
      await site.admin.call('grantRevoke', { params: { id: first.id }, body: reason })
      expect(await redeem(client, token)).toMatchObject({ why: 'no-grant' })
      await grant(dev)
      expect((await redeem(client, token)).kind).toBe('confirmed')
    })

    test('bound to a level, they are no good for the grant of another', async () => {
      const dev = await granted()
      await grant(dev, 'write')
      const { token } = await connectToken(dev, 'read')
      expect(await redeem(client, token, { wanted: 'write' })).toMatchObject({ why: 'no-grant' })
      expect((await redeem(client, token, { wanted: 'read' })).kind).toBe('confirmed')
    })

    test('end with the person, with their certificate, and when they are revoked', async () => {
      const one = await granted()
      const byToken = await connectToken(one)
      await one.api.call('tokenRevoke', { params: { id: byToken.id }, body: reason })
      expect(await redeem(client, byToken.token)).toMatchObject({ why: 'token-revoked' })

      const byCertificate = await connectToken(one)
      await site.admin.call('certificateRevoke', { params: { serial: one.serial }, body: reason })
      expect(await redeem(client, byCertificate.token)).toMatchObject({ why: 'token-revoked' })

      const two = await granted()
      const before = await connectToken(two)
      await site.admin.call('personRevoke', { params: { id: two.person.id }, body: reason })
      expect(await redeem(client, before.token)).toMatchObject({ why: 'token-revoked' })
      await site.admin.call('personRestore', { params: { id: two.person.id }, body: reason })
      expect(await redeem(client, before.token)).toMatchObject({ why: 'token-revoked' })
    })

    test('that let a session in: the proxies hear of the revocation, also in a resync', async () => {
      const dev = await granted()
      const made = await connectToken(dev)
      expect((await redeem(client, made.token)).kind).toBe('confirmed')
      await site.admin.call('tokenRevoke', { params: { id: made.id }, body: reason })
      const isIt = (message: ToProxy): boolean =>
        (message.kind === 'events' || message.kind === 'resync') &&
        message.events.some((event) => 'serial' in event && event.serial === made.id)
      await client.next('events', isIt)
      const later = await follow(target(site), await site.addProxy())
      await later.next('resync', isIt)
      later.close()
    })

    test('a few wait at a time', async () => {
      const dev = await granted()
      const made = []
      for (let count = 0; count < 5; count++) made.push(await connectToken(dev))
      await expect(connectToken(dev)).rejects.toMatchObject({ code: 'conflict' })
      expect((await redeem(client, made[0]!.token)).kind).toBe('confirmed')
      await connectToken(dev)
      const raced = await Promise.allSettled(Array.from({ length: 10 }, () => connectToken(dev)))
      expect(raced.every(({ status }) => status === 'rejected')).toBe(true)
    })
  })

  describe('API tokens', () => {
    const make = (person: TestPerson, scope: 'read' | 'request' = 'read', forMs = dayMs) =>
      person.api.call('tokenMake', { body: { name: 'a script', scope, forMs } })

    test('stand for their person, and say so', async () => {
      const dev = await granted()
      const made = await make(dev)
      expect(made.token).toMatch(/^spa_[A-Za-z0-9_-]{32}$/)
      const { status, body } = await bearer(made.token)
      expect(status).toBe(200)
      expect(body).toMatchObject({
        person: { id: dev.person.id },
        certificate: null,
        token: { id: made.id, scope: 'read' },
      })
      const grants = await bearer(made.token, '/v1/grants')
      expect(grants.body['items']).toHaveLength(1)
    })

    test('last use is kept to the hour', async () => {
      const dev = await newPerson()
      const { token, id } = await make(dev)
      const used = async () =>
        (await dev.api.call('tokens', {})).items.find((each) => each.id === id)!.usedAtMs
      expect(await used()).toBeNull()
      await bearer(token)
      expect((await used())! % hourMs).toBe(0)
    })

    test('unknown, ended, revoked, of a revoked person: refused alike', async () => {
      const dev = await newPerson()
      const answers = [await bearer(`spa_${'x'.repeat(32)}`), await bearer('nonsense')]
      const ended = await make(dev, 'read', 60_000)
      site.clock.shiftMs = 61_000
      answers.push(await bearer(ended.token))
      site.clock.shiftMs = 0
      const revoked = await make(dev)
      await dev.api.call('tokenRevoke', { params: { id: revoked.id }, body: reason })
      answers.push(await bearer(revoked.token))
      const gone = await make(dev)
      await site.admin.call('personRevoke', { params: { id: dev.person.id }, body: reason })
      answers.push(await bearer(gone.token))
      await site.admin.call('personRestore', { params: { id: dev.person.id }, body: reason })
      answers.push(await bearer(gone.token))
      for (const { status, body } of answers) {
        expect(status).toBe(401)
        expect(body).toEqual(answers[0]!.body)
      }
      expect(answers[0]!.body['code']).toBe('token-refused')
    })

    test('end when an admin revokes a certificate of the sign-in they were made in, and not with a sign-out', async () => {
      const add = () => site.addSignedIn(`dev-${++people}@example.test`, ['engineer'])
      const revoke = (serial: string) =>
        site.admin.call('certificateRevoke', { params: { serial }, body: reason })
      const one = await add()
      const [mine, others] = [await make(one), await make(await add())]
      await one.api.call('logout', { body: {} })
      expect((await bearer(mine.token)).status).toBe(200)
      // Whoever stole it may have signed out with it: it is revoked already.
      await revoke(one.serial)
      expect((await bearer(mine.token)).status).toBe(401)
      expect((await bearer(others.token)).status).toBe(200)
      const issued = await newPerson()
      const byIssued = await make(issued)
      await revoke(issued.serial)
      expect((await bearer(byIssued.token)).status).toBe(401)
      const { items } = await auditor.api.call('auditActions', { query: { limit: 10 } })
      const recorded = items.filter(({ action }) => action === 'certificate.revoked')
      expect(recorded.map(({ details }) => details!['tokens'])).toEqual([[byIssued.id], [mine.id]])
    })

    test('are no connect tokens, and connect tokens are none of them', async () => {
      const dev = await granted()
      const { token } = await make(dev)
      expect(await redeem(client, token)).toMatchObject({ why: 'token-unknown' })
      expect((await bearer((await connectToken(dev)).token)).status).toBe(401)
    })

    test('a longer life than 90 days, another scope, no name: refused', async () => {
      const dev = await newPerson()
      for (const body of [
        { name: 'x', scope: 'read', forMs: 90 * dayMs + 1 },
        { name: 'x', scope: 'admin', forMs: dayMs },
        { name: ' ', scope: 'read', forMs: dayMs },
        { scope: 'read', forMs: dayMs },
      ]) {
        expect((await site.ask(dev, 'POST', '/v1/tokens', body)).status).toBe(400)
      }
    })

    test('are listed and revoked by their person and by admins, and by nobody else', async () => {
      const [dev, other] = [await newPerson(), await newPerson()]
      const made = await make(dev)
      const ids = async (person: TestPerson) =>
        (await person.api.call('tokens', { query: { limit: 1_000 } })).items.map(({ id }) => id)
      expect(await ids(dev)).toEqual([made.id])
      expect(await ids(other)).toEqual([])
      expect(await ids(admin)).toContain(made.id)
      expect(await ids(auditor)).toContain(made.id)
      const revoke = { params: { id: made.id }, body: reason }
      for (const person of [other, auditor]) {
        await expect(person.api.call('tokenRevoke', revoke)).rejects.toMatchObject({
          code: 'not-found',
        })
      }
      expect((await admin.api.call('tokenRevoke', revoke)).state).toBe('revoked')
      expect(
        JSON.stringify(await dev.api.call('tokens', { query: { state: 'all' } })),
      ).not.toContain(made.token)
    })

    test('make no tokens and decide nothing, with an admin behind them too', async () => {
      const { token } = await make(admin, 'request')
      const dev = await granted()
      for (const [path, body] of [
        ['/v1/tokens', { name: 'x', scope: 'read', forMs: dayMs }],
        ['/v1/connect-tokens', { resource: 'orders-db' }],
        [
          '/v1/grants',
          {
            person: dev.person.email,
            resource: 'orders-db',
            level: 'read',
            forMs: dayMs,
            ...reason,
          },
        ],
        [`/v1/people/${dev.person.id}/revoke`, reason],
      ] as const) {
        const answer = await bearer(token, path, 'POST', body)
        expect(answer.status, path).toBe(403)
        expect(answer.body['code']).toBe('not-allowed')
      }
    })
  })

  test('go some time after their end, and never while a revocation may have to find them; the chain keeps them', async () => {
    const { control } = site.running
    const at = async (days: number, settings = control.settings): Promise<string[]> => {
      const clock = { ...control.clock, wallMs: () => site.clock.wallMs() + days * dayMs }
      await trimTokens({ ...control, clock, settings })
      const rows = await control.state.query<{ id: string }>('select id from tokens')
      return rows.map(({ id }) => id)
    }
    const dev = await granted()
    const used = await connectToken(dev)
    expect((await redeem(client, used.token)).kind).toBe('confirmed')
    const short = await dev.api.call('tokenMake', {
      body: { name: 'short', scope: 'read', forMs: hourMs },
    })
    const long = await dev.api.call('tokenMake', {
      body: { name: 'long', scope: 'read', forMs: 30 * dayMs },
    })
    expect(await at(89)).toEqual(expect.arrayContaining([used.id, short.id, long.id]))
    const eager = { ...control.settings, tokenRetentionMs: 0 }
    expect(await at(29, eager)).toEqual(expect.arrayContaining([used.id, short.id, long.id]))
    expect(await at(91)).toEqual([long.id])
    expect(await at(121)).toEqual([])
    const { items } = await auditor.api.call('auditActions', { query: { limit: 1_000 } })
    const kept = items.filter(({ target }) => target === used.id).map(({ action }) => action)
    expect(kept).toEqual(['connect-token.used', 'connect-token.made'])
  })

  test('each making, use and revocation is in control’s chain, and no token is', async () => {
    const { items } = await auditor.api.call('auditActions', { query: { limit: 1_000 } })
    const actions = new Set(items.map(({ action }) => action))
    for (const action of [
      'connect-token.made',
      'connect-token.used',
      'connect-token.revoked',
      'api-token.made',
      'api-token.revoked',
    ]) {
      expect(actions).toContain(action)
    }
    expect(JSON.stringify(items)).not.toMatch(/sp[1a]_[A-Za-z0-9_-]{32}/)
    expect((await verifyControlChain(auditor.api, 'with')).damage).toEqual([])
  })
})

test('who guesses is refused unlooked at after a while', async () => {
  const elsewhere = await startTestControl({ databaseUrl: await server.createDatabase() })
  try {
    const guess = () =>
      elsewhere.ask({}, 'GET', '/v1/whoami', undefined, {
        authorization: `Bearer spa_${'x'.repeat(32)}`,
      })
    const seen: number[] = []
    for (let count = 0; count < 70; count++) seen.push((await guess()).status)
    expect(seen.slice(0, 60).every((status) => status === 401)).toBe(true)
    expect(seen.at(-1)).toBe(429)
  } finally {
    await elsewhere.close()
  }
})

test('fifty times at once, over two replicas: one gets in', async () => {
  const databaseUrl = await server.createDatabase()
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-tokens-'))
  const sealingKeyFile = join(directory, 'sealing.key')
  const one = await startTestControl({ databaseUrl, sealingKeyFile })
  const two = await startTestControl({ databaseUrl, sealingKeyFile })
  try {
    await one.admin.call('resourcesApply', {
      body: { file: { resources: [resourceNamed('orders-db')] } },
    })
    const dev = await one.addPerson('dev@example.test', ['engineer'])
    await one.admin.call('grantMake', {
      body: {
        person: 'dev@example.test',
        resource: 'orders-db',
        level: 'read',
        forMs: hourMs,
        ...reason,
      },
    })
    const proxy = await one.addProxy()
    const clients = [await follow(target(one), proxy), await follow(target(two), proxy)]
    for (let round = 0; round < 5; round++) {
      const { token } = await dev.api.call('connectTokenMake', { body: { resource: 'orders-db' } })
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, index) => redeem(clients[index % 2]!, token)),
      )
      expect(answers.filter(({ kind }) => kind === 'confirmed')).toHaveLength(1)
      const whys = answers.flatMap((answer) => (answer.kind === 'denied' ? [answer.why] : []))
      expect(new Set(whys)).toEqual(new Set(['token-used']))
    }
    for (const client of clients) client.close()
  } finally {
    await one.close()
    await two.close()
    rmSync(directory, { recursive: true, force: true })
  }
})
