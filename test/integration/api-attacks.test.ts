/** Tricks with time, size and pages of others, as somebody who has a certificate or none. */
import { once } from 'node:events'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { problem } from '../../control/api/problem.ts'
import { appendControlAction } from '../../control/chain/append-action.ts'
import { readControlSegments } from '../../control/chain/read-segments.ts'
import { renewProxy } from '../../control/issue/join-proxy.ts'
import { runSally } from '../run-sally.ts'
import { connectFeed, type FeedClient } from './feed-client.ts'
import {
  resourceNamed,
  startTestControl,
  type RunningSite,
  type TestCaller,
  type TestPerson,
} from './running-control.ts'

let site: RunningSite

beforeAll(async () => {
  site = await startTestControl()
  const file = { resources: [resourceNamed('orders-db')] }
  await site.admin.call('resourcesApply', { body: { file } })
})
afterAll(() => site.close())

const reason = { reason: 'a test' }
const revoke = ({ person }: TestPerson) =>
  site.admin.call('personRevoke', { params: { id: person.id }, body: reason })

/** A request whose body is sent when the test says so. */
interface SlowCall {
  readonly socket: TLSSocket
  finish(): Promise<string>
}

/** Resolves when control has read the head, and so has asked who this is. */
async function begin(
  caller: Required<TestCaller>,
  route: string,
  body: string,
  contentType = 'application/json',
): Promise<SlowCall> {
  const socket = connectAs(caller)
  let answer = ''
  const answered = Promise.withResolvers<string>()
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1')
    const status = /^HTTP\/1.1 ([2-5]\d\d) /m.exec(answer)?.[1]
    if (status !== undefined) answered.resolve(status)
  })
  socket.on('error', answered.reject)
  socket.write(
    `${route} HTTP/1.1\r\nhost: control\r\nexpect: 100-continue\r\n` +
      `content-type: ${contentType}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`,
  )
  await expect.poll(() => answer).toContain('HTTP/1.1')
  // One after the other over the same store: what was asked before is answered before.
  await site.admin.call('whoami')
  return {
    socket,
    finish() {
      socket.write(body)
      return answered.promise
    },
  }
}

function connectAs({ certificatePem, privateKeyPem }: Required<TestCaller>): TLSSocket {
  const { hostname, port } = new URL(site.running.url)
  const { certificatePem: authority } = site.running.control.keys.authorities.control
  const address = { host: hostname, port: Number(port), ca: authority }
  return connect({ ...address, cert: certificatePem, key: privateKeyPem })
}

describe('who is revoked while they send', () => {
  test('makes nothing any more', async () => {
    const boss = await site.addPerson('boss@example.test', ['admin'])
    const friend = { email: 'friend@example.test', roles: ['admin'] }
    const call = await begin(boss, 'POST /v1/people', JSON.stringify(friend))
    await revoke(boss)
    expect(await call.finish()).toBe('401')
    call.socket.destroy()
    const { items } = await site.admin.call('people', { query: { limit: 1_000 } })
    expect(items.map(({ email }) => email)).not.toContain(friend.email)
  })

  test('also where the route takes no body', async () => {
    const boss = await site.addPerson('boss2@example.test', ['admin'])
    const call = await begin(boss, 'POST /v1/proxy-groups/default/join-tokens', '{}')
    await site.admin.call('certificateRevoke', { params: { serial: boss.serial }, body: reason })
    expect(await call.finish()).toBe('401')
    call.socket.destroy()
  })

  test('and one who is not goes on', async () => {
    const boss = await site.addPerson('boss3@example.test', ['admin'])
    const friend = { email: 'friend3@example.test', roles: ['engineer'] }
    const call = await begin(boss, 'POST /v1/people', JSON.stringify(friend))
    expect(await call.finish()).toBe('200')
    call.socket.destroy()
  })
})

test('an auditor who is revoked while they wait for what comes next reads none of it', async () => {
  const auditor = await site.addPerson('auditor@example.test', ['auditor'])
  const session = '11111111-2222-4333-8444-666666666666'
  await insertSession(session)
  const params = { id: session }
  const { next } = await auditor.api.call('sessionWatch', { params, query: {} })
  const query = { cursor: next, waitMs: 1_500 }
  const waiting = auditor.api
    .call('sessionWatch', { params, query })
    .catch((error: unknown) => error)
  // It is let in before this is answered.
  await site.admin.call('whoami')
  await revoke(auditor)
  expect(await waiting).toMatchObject({ code: 'evidence-invalid' })
})

test('a page of another site asks for nothing in somebody’s name', async () => {
  const person = await site.addPerson('browser@example.test', ['admin', 'auditor'])
  for (const from of ['cross-site', 'same-site', 'nonsense']) {
    for (const [method, path] of [
      ['POST', '/v1/proxy-groups/default/join-tokens'],
      ['GET', '/v1/audit/activities'],
      ['GET', '/v1/whoami'],
    ] as const) {
      const headers = { 'sec-fetch-site': from }
      const { status } = await site.ask(person, method, path, undefined, headers)
      expect(status, `${from} ${path}`).toBe(403)
    }
  }
  for (const from of ['same-origin', 'none']) {
    const headers = { 'sec-fetch-site': from }
    const { status } = await site.ask(person, 'GET', '/v1/whoami', undefined, headers)
    expect(status, from).toBe(200)
  }
  // What a form sends without a question beforehand is not JSON to us.
  const form = { 'content-type': 'text/plain' }
  expect((await site.ask(person, 'POST', '/v1/logout', '{}', form)).status).toBe(400)
})

test('an address that cannot be read is refused like everything else', async () => {
  const paths = {
    '/v1/%ff': [400, 'request-invalid'],
    '/v1/people/%zz': [400, 'request-invalid'],
    // Longer than any name: no route is meant.
    [`/v1/resources/${'a'.repeat(400)}/why`]: [404, 'not-found'],
  } as const
  for (const [path, [expected, code]] of Object.entries(paths)) {
    const { status, contentType, headers, body } = await site.ask({}, 'GET', path)
    expect(status, path).toBe(expected)
    expect(contentType).toMatch(/^application\/problem\+json/)
    expect(headers['cache-control']).toBe('no-store')
    expect(problem.parse(body).code).toBe(code)
    expect(JSON.stringify(body)).not.toContain('FST_')
  }
})

test('a stranger is not read further than what could make sense', async () => {
  for (const path of ['/v1/proxy/join', '/v1/login/device', '/v1/login/code']) {
    const { status } = await site.ask({}, 'POST', path, { token: 'x'.repeat(100_000) })
    expect(status, path).toBe(413)
  }
})

test('one proxy that sends slowly leaves room for the others', async () => {
  const [thief, honest] = [await site.addProxy(), await site.addProxy()]
  const route = 'POST /v1/proxy/audit/quarantine?why=slow'
  const body = 'x'.repeat(1_000)
  const type = 'application/octet-stream'
  const calls: SlowCall[] = []
  for (let count = 0; count < 14; count += 1) calls.push(await begin(thief, route, body, type))
  const other = await begin(honest, route, body, type)
  expect(await other.finish()).toBe('200')
  const statuses = await Promise.all(calls.map((call) => call.finish()))
  expect(statuses.filter((status) => status === '200')).toHaveLength(4)
  expect(statuses.filter((status) => status === '429')).toHaveLength(10)
  for (const { socket } of [...calls, other]) {
    socket.destroy()
    if (!socket.closed) await once(socket, 'close')
  }
  // What was taken is given back.
  const again = await begin(thief, route, `${body}y`, type)
  expect(await again.finish()).toBe('200')
  again.socket.destroy()
})

test('one that hangs up while control looks who it is takes no room', async () => {
  const flaky = await site.addProxy()
  const route = 'POST /v1/proxy/audit/quarantine?why=gone'
  for (let count = 0; count < 6; count += 1) {
    const socket = connectAs(flaky)
    await once(socket, 'secureConnect')
    socket.write(`${route} HTTP/1.1\r\nhost: control\r\ncontent-length: 5\r\n\r\n`)
    socket.destroySoon()
    await once(socket, 'close')
    await site.admin.call('whoami')
  }
  const call = await begin(flaky, route, 'whole', 'application/octet-stream')
  expect(await call.finish()).toBe('200')
  call.socket.destroy()
})

describe('a proxy whose key was stolen', () => {
  test('is shut out with every certificate that the thief renewed', async () => {
    const stolen = await site.addProxy()
    const honest = await site.addProxy()
    const renewed = await renew(stolen)
    const feeds = await Promise.all([feedOf(renewed), feedOf(honest)])
    for (const feed of feeds) {
      feed.send({ kind: 'hello', cursor: 0, version: 'test', bootEpoch: 'x' })
      await feed.next('heartbeat')
    }
    const { proxyId } = stolen.joined
    const revokeIt = () =>
      site.admin.call('proxyRevoke', { params: { id: proxyId }, body: { reason: 'stolen' } })
    await revokeIt()
    await expect.poll(() => feeds[0].closed).toMatchObject({ code: 1008 })
    for (const thief of [stolen, renewed]) {
      await expect(feedOf(thief)).rejects.toThrow('status 401')
      const { status } = await site.ask(thief, 'POST', '/v1/proxy/renew', {})
      expect(status).toBe(401)
    }
    await expect(renew(renewed)).rejects.toMatchObject({ code: 'evidence-invalid' })

    // Nobody else is, and it is on record once.
    expect(feeds[1].closed).toBeUndefined()
    feeds[1].close()
    await revokeIt()
    const { items } = await site.admin.call('auditActions', { query: { limit: 20 } })
    const actions = items.filter(({ action }) => action === 'proxy.revoked')
    expect(actions).toMatchObject([{ target: proxyId, details: { reason: 'stolen' } }])
    const groups = await site.admin.call('groups')
    const states = new Map(groups.items[0]!.proxies.map(({ id, state }) => [id, state]))
    expect(states.get(proxyId)).toBe('revoked')
    expect(states.get(honest.joined.proxyId)).not.toBe('revoked')
    const unknown = { id: '00000000-0000-4000-8000-000000000000' }
    await expect(
      site.admin.call('proxyRevoke', { params: unknown, body: reason }),
    ).rejects.toMatchObject({ code: 'not-found' })
  })

  test('gets no certificate by a renewal that was under way', async () => {
    const { joined, api } = await site.addProxy()
    const { proxyId: id, group } = joined
    await site.admin.call('proxyRevoke', { params: { id }, body: reason })
    const late = renewProxy(site.running.control, { id, name: 'edge', group }, '', await requests())
    await expect(late).rejects.toMatchObject({ code: 'not-allowed' })
    api.close()
  })

  test('can be told by its first characters', async () => {
    const { joined } = await site.addProxy()
    const { home } = site.options.admin!
    const run = await runSally(
      ['proxy', 'revoke', joined.proxyId.slice(0, 8), '--reason', 'a test'],
      { home },
    )
    expect(run.stderr).toContain('sally proxy join-token')
    expect(run.stdout).toContain(joined.proxyId)
    const list = await runSally(['proxy', 'list'], { home })
    expect(list.stdout).toMatch(new RegExp(`${joined.proxyId.slice(0, 6)}.* revoked`))
  })
})

test('control’s own chain is read in pieces that fit in memory, and whole', async () => {
  const { stores, control } = site.running
  const actor = { id: 'x', email: 'admin@example.test', remoteAddress: '' }
  for (let count = 0; count < 6; count += 1) {
    const details = { text: 'x'.repeat(50_000) }
    await stores.state.transaction((sql) =>
      appendControlAction(sql, control.chain, actor, { action: 'a.test', target: '', details }),
    )
  }
  const [head] = await stores.state.query<{ last: number }>(
    'select max(batch) as last from control_chain',
  )
  const untilMs = Number.MAX_SAFE_INTEGER
  let after = 0
  let pages = 0
  for (;;) {
    const range = { afterBatch: after, limit: 100, payloads: true, untilMs, bytesMax: 120_000 }
    const items = await readControlSegments(stores.state, control.chain, range)
    if (items.length === 0) break
    const bytes = items.reduce((sum, { batches }) => sum + (batches.length * 3) / 4, 0)
    // One batch more than the bytes that are left may come.
    expect(bytes).toBeLessThan(120_000 + 60_000)
    expect(items[0]!.firstBatch).toBe(after + 1)
    after = items.at(-1)!.lastBatch
    pages += 1
  }
  expect(after).toBe(head!.last)
  expect(pages).toBeGreaterThan(1)
})

async function requests() {
  const [client, server] = await Promise.all([createKeyAndRequest(), createKeyAndRequest()])
  const bodies = { clientRequestPem: client.requestPem, serverRequestPem: server.requestPem }
  return { ...bodies, privateKeyPem: client.privateKeyPem }
}

/** As the proxy does it, and as its thief would. */
async function renew({ certificatePem, privateKeyPem: key }: Required<TestCaller>) {
  const { privateKeyPem, ...body } = await requests()
  const api = site.open({ certificatePem, privateKeyPem: key })
  const renewed = await api.call('proxyRenew', { body })
  return { certificatePem: renewed.clientCertificatePem, privateKeyPem }
}

function feedOf(caller: TestCaller): Promise<FeedClient> {
  const { certificatePem } = site.running.control.keys.authorities.control
  return connectFeed({ url: site.running.url, authorityPem: certificatePem }, caller)
}

async function insertSession(id: string): Promise<void> {
  const { audit } = site.running.stores
  await audit.query(
    `insert into audit_chains (realm, proxy_id, epoch, last_batch, last_sequence, last_link, entries, created_at_ms, received_at_ms)
     values ('default', $1, $1, 1, 1, '', 1, 1, 1)`,
    [id],
  )
  await audit.query(
    `insert into index_progress (realm, chain_id, indexed_sequence, entries_indexed)
     select 'default', chain_id, 1, 1 from audit_chains where proxy_id = $1`,
    [id],
  )
  await audit.query(
    `insert into sessions (realm, session_id, proxy_id, chain_id, person_id, person_email, grant_id, grant_revision, resource,
       protocol, level, account, upstream, remote_address, certificate_serial, attributes, retention_class, durability,
       admitted_by, expires_at_ms, opened_at_ms, received_at_ms)
     select 'default', $1, $1, chain_id, $1, 'dev@example.test', $1, 1, 'orders-db', 'postgres', 'read', 'reader', 'x',
       '127.0.0.1', '1', '{}', 'standard', 'written', 'control', 1, 1, 1
     from audit_chains where proxy_id = $1`,
    [id],
  )
}
