import { createPublicKey, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import type { FeedEvent, ToProxy } from '../../control/api/feed.ts'
import { verifyToken } from '../../control/api/tokens.ts'
import { endLogin } from '../../control/login/end-login.ts'
import { trimFeed } from '../../control/feed/trim-feed.ts'
import { sleep, systemClock } from '../../protocols/kit/clock.ts'
import { connectFeed, follow, type FeedClient, type FeedTarget } from './feed-client.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import {
  resourceNamed,
  startTestControl,
  type RunningSite,
  type TestPerson,
  type TestProxy,
} from './running-control.ts'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

describe.each(['embedded', 'postgres'] as const)('the feed over the %s store', (engine) => {
  let site: RunningSite
  let target: FeedTarget
  let dev: TestPerson
  let proxy: TestProxy
  let edge: TestProxy
  const open: FeedClient[] = []

  beforeAll(async () => {
    site = await startTestControl(
      engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() },
    )
    const { url, control } = site.running
    target = { url, authorityPem: control.keys.authorities.control.certificatePem }
    dev = await site.addPerson('dev@example.test', ['engineer'])
    await site.admin.call('groupCreate', { body: { name: 'edge', domain: 'edge.example.test' } })
    proxy = await site.addProxy()
    edge = await site.addProxy('edge')
    await site.admin.call('resourcesApply', {
      body: {
        file: {
          resources: [resourceNamed('orders-db'), resourceNamed('edge-db', { group: 'edge' })],
        },
      },
    })
  })
  afterAll(async () => {
    for (const client of open) client.close()
    await site.close()
  })

  const listen = async (as: TestProxy = proxy, cursor = 0): Promise<FeedClient> => {
    const client = await follow(target, as, cursor)
    open.push(client)
    return client
  }
  const make = (resource = 'orders-db', level: 'read' | 'write' = 'read', forMs = 3_600_000) =>
    site.admin.call('grantMake', {
      body: { person: 'dev@example.test', resource, level, forMs, reason: 'x' },
    })
  const revoke = (id: string) =>
    site.admin.call('grantRevoke', { params: { id }, body: { reason: 'over' } })
  const keys = (kid: string) => {
    const key = site.running.control.keys.verificationKeys.find((each) => each.kid === kid)
    return createPublicKey(key!.publicKeyPem)
  }
  const grantsIn = async (events: FeedEvent[]) =>
    Promise.all(
      events.flatMap((event) =>
        event.kind === 'grant' ? [verifyToken('grant', event.token, keys)] : [],
      ),
    )
  let nextRequest = 1
  const confirm = (client: FeedClient, more: Record<string, unknown> = {}) => {
    const requestId = nextRequest++
    client.send({
      kind: 'confirm',
      requestId,
      sessionId: randomUUID(),
      personId: dev.person.id,
      certificateSerial: dev.serial,
      resource: 'orders-db',
      wanted: '',
      protocol: 'postgres',
      ...more,
    })
    const fits = (message: ToProxy) =>
      (message.kind === 'confirmed' || message.kind === 'denied') && message.requestId === requestId
    return Promise.any([client.next('confirmed', fits), client.next('denied', fits)])
  }

  test('a first hello brings the whole state of the group, then heartbeats with leases', async () => {
    const grant = await make()
    const hidden = await make('edge-db')
    const client = await listen()
    expect(await client.next('welcome')).toMatchObject({
      proxyId: proxy.joined.proxyId,
      group: 'default',
      domain: 'access.example.test',
    })
    const resync = await client.next('resync')
    const kinds = new Set(resync.events.map((event) => event.kind))
    expect(kinds).toContain('keys')
    expect(kinds).toContain('people-authorities')
    const names = resync.events.flatMap((event) =>
      event.kind === 'resource' ? [event.resource.name] : [],
    )
    expect(names).toEqual(['orders-db'])
    const ids = (await grantsIn(resync.events)).map((claims) => claims.grantId)
    expect(ids).toContain(grant.id)
    expect(ids).not.toContain(hidden.id)

    const beat = await client.next('heartbeat')
    expect(beat.position).toBe(resync.position)
    const lease = await verifyToken('lease', beat.lease, keys)
    expect(lease).toMatchObject({ proxyId: proxy.joined.proxyId, position: beat.position })
    expect(Math.abs(lease.issuedAtMs - systemClock.wallMs())).toBeLessThan(10_000)
    await client.next('heartbeat', (message) => message !== beat)
    // Between the question and its answer, by its own clock.
    const askedMs = systemClock.wallMs()
    client.send({ kind: 'time', requestId: 7 })
    const { controlTimeMs } = await client.next('time', ({ requestId }) => requestId === 7)
    expect(controlTimeMs).toBeGreaterThanOrEqual(askedMs)
    expect(controlTimeMs).toBeLessThanOrEqual(systemClock.wallMs())
  })

  test('what changes arrives in order, signed, and only for the group', async () => {
    const client = await listen()
    const other = await listen(edge)
    await client.next('resync')
    await other.next('resync')
    const grant = await make()
    await site.admin.call('grantExtend', {
      params: { id: grant.id },
      body: { byMs: 60_000, reason: 'x' },
    })
    await revoke(grant.id)
    const last = await client.next('events', ({ events }) =>
      events.some((event) => event.kind === 'grant-revoked' && event.grantId === grant.id),
    )
    const events = client.messages.flatMap((message) =>
      message.kind === 'events' ? message.events : [],
    )
    const mine = (await grantsIn(events)).filter((claims) => claims.grantId === grant.id)
    expect(mine.map((claims) => claims.revision)).toEqual([1, 2])
    expect(mine[1]!.expiresAtMs).toBe(mine[0]!.expiresAtMs + 60_000)
    const revoked = events.find((event) => event.kind === 'grant-revoked')
    expect(revoked).toMatchObject({ revision: 3, reason: 'over' })
    // The other group hears that the feed moved on, and nothing else.
    await other.next('events', (message) => message.position >= last.position)
    expect(
      other.messages.flatMap((message) => (message.kind === 'events' ? message.events : [])),
    ).toEqual([])
  })

  test('a certificate that has expired is revoked for the sessions that it opened', async () => {
    await make()
    const client = await listen()
    const { position } = await client.next('resync')
    const { requestPem } = await createKeyAndRequest()
    const { serial } = await site.admin.call('certificateIssue', {
      params: { id: dev.person.id },
      body: { requestPem, forMs: 60_000 },
    })
    site.clock.shiftMs = 120_000
    try {
      const revoke = () =>
        site.admin.call('certificateRevoke', { params: { serial }, body: { reason: 'stolen' } })
      await revoke()
      const ofIt = (events: FeedEvent[]) =>
        events.filter((event) => event.kind === 'certificate-revoked' && event.serial === serial)
      const told = await client.next('events', ({ events }) => ofIt(events).length > 0)
      expect(told.position).toBeGreaterThan(position)
      // Once: whoever revokes it again changes nothing.
      await revoke()
      const resync = await (await listen()).next('resync')
      expect(ofIt(resync.events)).toHaveLength(1)
    } finally {
      site.clock.shiftMs = 0
    }
  })

  test('a cursor that is kept reads on without a resync', async () => {
    const client = await listen()
    await client.next('resync')
    const { position } = await client.next('heartbeat')
    client.close()
    const grant = await make()
    const again = await listen(proxy, position)
    const events = await again.next('events', (message) => message.events.length > 0)
    expect((await grantsIn(events.events)).map((claims) => claims.grantId)).toEqual([grant.id])
    expect(again.messages.some((message) => message.kind === 'resync')).toBe(false)
  })

  test('a cursor ahead of the head, or of another database, resyncs', async () => {
    const client = await listen()
    const { position } = await client.next('resync')
    for (const cursor of [position + 1_000, 5, 17_000_000]) {
      const other = await listen(proxy, cursor)
      expect((await other.next('resync')).position).toBeGreaterThanOrEqual(position)
    }
  })

  test('a cursor older than what is kept resyncs', async () => {
    const first = await listen()
    const { position } = await first.next('resync')
    await revoke((await make()).id)
    const { state } = site.running.stores
    const gone = await trimFeed(state, 'default', systemClock.wallMs() + 60_000)
    expect(gone).toBeGreaterThan(0)
    const behind = await listen(proxy, position)
    const resync = await behind.next('resync')
    expect(resync.position).toBeGreaterThan(position)
    // At the floor itself nothing is missing.
    const exact = await listen(proxy, resync.position)
    await exact.next('heartbeat')
    expect(exact.messages.some((message) => message.kind === 'resync')).toBe(false)
  })

  test('confirmations: the grant as it is now, or why not', async () => {
    const client = await listen()
    await client.next('resync')
    const none = await confirm(client, { resource: 'nothing' })
    expect(none).toMatchObject({ kind: 'denied', why: 'no-resource' })
    const read = await make()
    const write = await make('orders-db', 'write')
    const extended = await site.admin.call('grantExtend', {
      params: { id: read.id },
      body: { byMs: 60_000, reason: 'x' },
    })
    const granted = async (more: Record<string, unknown>) => {
      const answer = await confirm(client, more)
      if (answer.kind !== 'confirmed') throw new Error(answer.why)
      return verifyToken('grant', answer.token, keys)
    }
    expect(await granted({ grantId: read.id })).toMatchObject({
      grantId: read.id,
      revision: extended.revision,
      expiresAtMs: extended.expiresAtMs,
    })
    expect((await granted({})).grantId).toBe(write.id)
    expect((await granted({ wanted: 'read' })).level).toBe('read')
    expect((await granted({ wanted: 'writer' })).grantId).toBe(write.id)

    const denied: [Record<string, unknown>, string][] = [
      [{ personId: randomUUID() }, 'no-person'],
      [{ personId: undefined }, 'no-person'],
      [{ certificateSerial: 'abc' }, 'certificate-revoked'],
      [{ certificateSerial: undefined }, 'certificate-revoked'],
      [{ resource: 'edge-db' }, 'no-resource'],
      [{ wanted: 'admin' }, 'no-grant'],
      [{ grantId: randomUUID() }, 'no-grant'],
      [{ grantId: read.id, wanted: 'writer' }, 'no-grant'],
    ]
    for (const [more, why] of denied) {
      expect(await confirm(client, more), JSON.stringify(more)).toMatchObject({ why })
    }
    await revoke(write.id)
    expect(await confirm(client, { grantId: write.id })).toMatchObject({ why: 'grant-ended' })
    expect(await confirm(client, { wanted: 'write' })).toMatchObject({ why: 'no-grant' })
    site.clock.shiftMs = 7_200_000 - 1_000
    expect(await confirm(client, { grantId: read.id })).toMatchObject({ why: 'grant-ended' })
    site.clock.shiftMs = 0
  })

  test('another person’s grant, or with another’s certificate, is none', async () => {
    const client = await listen()
    await client.next('resync')
    const grant = await make()
    const other = await site.addPerson(`other-${engine}@example.test`, ['engineer'])
    const theirs = { personId: other.person.id, certificateSerial: other.serial }
    expect(await confirm(client, { ...theirs, grantId: grant.id })).toMatchObject({
      why: 'no-grant',
    })
    expect(
      await confirm(client, { grantId: grant.id, certificateSerial: other.serial }),
    ).toMatchObject({ why: 'certificate-revoked' })
    await site.admin.call('certificateRevoke', {
      params: { serial: other.serial },
      body: { reason: 'x' },
    })
    expect(await confirm(client, theirs)).toMatchObject({ why: 'certificate-revoked' })
    await site.admin.call('personRevoke', {
      params: { id: other.person.id },
      body: { reason: 'x' },
    })
    expect(await confirm(client, theirs)).toMatchObject({ why: 'person-revoked' })
    const kinds = client.events().map((event) => event.kind)
    expect(kinds).toContain('certificate-revoked')
    await client.next('events', ({ events }) =>
      events.some((event) => event.kind === 'person-revoked'),
    )
  })

  test('a confirmation names a position that holds every revocation before it, and it arrives', async () => {
    const client = await listen()
    await client.next('resync')
    for (let round = 0; round < 10; round += 1) {
      const grant = await make()
      // Something of the other group moves the feed as well.
      const hidden = await make('edge-db')
      await Promise.all([revoke(grant.id), revoke(hidden.id)])
      const answer = await confirm(client, { grantId: grant.id })
      expect(answer).toMatchObject({ kind: 'denied', why: 'grant-ended' })
      await client.next('events', (message) => message.position >= answer.position)
      const seen = client
        .events()
        .some((event) => event.kind === 'grant-revoked' && event.grantId === grant.id)
      expect(seen).toBe(true)
    }
  })

  test('a sign-in that ends cuts what its certificates let in, also those that have ended', async () => {
    const { control } = site.running
    const wallMs = () => systemClock.wallMs() + 9 * 3_600_000
    const later = { ...control, clock: { ...control.clock, wallMs } }
    const operator = { id: randomUUID(), email: 'operator@example.test', remoteAddress: '' }
    const { api, serial } = await site.addSignedIn('signed-in@example.test', ['engineer'])
    const { login } = await api.call('whoami')
    const client = await listen()
    await client.next('resync', ({ more }) => !more)
    // As where the identity provider refuses to go on.
    const context = { control: later, provider: undefined, proxy: undefined }
    await endLogin(context, operator, login!.id, 'disabled there')
    const isIt = ({ events }: { events: FeedEvent[] }): boolean =>
      events.some((event) => 'serial' in event && event.serial === serial)
    await client.next('events', isIt)
    await (await listen(await site.addProxy())).next('resync', isIt)
  })

  test('only a proxy’s certificate opens a feed', async () => {
    await expect(connectFeed(target, {})).rejects.toThrow('status 401')
    await expect(connectFeed(target, dev)).rejects.toThrow('status 401')
  })

  test('a revoked proxy is refused, and the feed it has is closed', async () => {
    const bad = await site.addProxy()
    const client = await listen(bad)
    await client.next('resync')
    await site.running.stores.state.query('update proxies set revoked_at_ms = 1 where id = $1', [
      bad.joined.proxyId,
    ])
    await expect(connectFeed(target, bad)).rejects.toThrow('status 401')
    await expect.poll(() => client.closed?.code).toBe(1008)
  })

  test.each([
    ['no JSON', '{'],
    ['nothing known', '{"kind":"nonsense"}'],
    ['a confirmation before hello', '{"kind":"applied","position":1}'],
    ['a long message', JSON.stringify({ kind: 'hello', version: 'x'.repeat(100_000) })],
  ])('%s ends the feed', async (_, text) => {
    const client = await connectFeed(target, proxy)
    open.push(client)
    client.send(text)
    await expect.poll(() => client.closed?.code).toBeGreaterThan(1_000)
    expect([1008, 1009]).toContain(client.closed!.code)
  })

  test('a second feed of the same proxy replaces the first', async () => {
    const first = await listen()
    await first.next('resync')
    const second = await listen()
    await second.next('heartbeat')
    await expect.poll(() => first.closed?.code).toBe(1000)
    expect(second.closed).toBeUndefined()
    const { items } = await site.admin.call('groups')
    expect(items[0]!.proxies.find((each) => each.id === proxy.joined.proxyId)!.state).toBe(
      'connected',
    )
  })

  test('a whole state of many messages comes in parts, and as one', async () => {
    const description = 'd'.repeat(1_000)
    const tags = Object.fromEntries(
      Array.from({ length: 30 }, (_, n) => [`t${n}`, 'v'.repeat(250)]),
    )
    const resources = Array.from({ length: 250 }, (_, index) =>
      resourceNamed(`many-${index}`, { description, tags }),
    )
    for (let at = 0; at < resources.length; at += 50) {
      const file = { resources: resources.slice(at, at + 50) }
      await site.admin.call('resourcesApply', { body: { file } })
    }
    const client = await listen()
    await client.next('resync', (message) => !message.more)
    const parts = client.messages.filter((message) => message.kind === 'resync')
    expect(parts.length).toBeGreaterThan(1)
    expect(new Set(parts.map((part) => part.position)).size).toBe(1)
    const names = client
      .events()
      .flatMap((event) => (event.kind === 'resource' ? [event.resource.name] : []))
    expect(names.filter((name) => name.startsWith('many-'))).toHaveLength(250)
    await client.next('heartbeat')
  })

  test('while the store does not answer there is no heartbeat and no lease', async () => {
    const client = await listen()
    await client.next('heartbeat')
    const { state } = site.running.stores
    await state.transaction(async (sql) => {
      // On PGlite the transaction keeps all others out; on PostgreSQL a lock does.
      await sql.query('lock table feed in access exclusive mode')
      await sleep(systemClock, 300)
      const before = client.messages.filter((message) => message.kind === 'heartbeat').length
      await sleep(systemClock, 2_500)
      const after = client.messages.filter((message) => message.kind === 'heartbeat').length
      expect(after - before).toBeLessThanOrEqual(1)
    })
    const count = client.messages.length
    await expect.poll(() => client.messages.length).toBeGreaterThan(count)
  })
})
