/** Signing in at a terminal, with a real provider, over both stores: whose it is, when it ends, who gets none. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { createApiClient, type ApiClient } from '../../control/api/client.ts'
import { attemptsMax } from '../../control/login/attempts.ts'
import { endLogin } from '../../control/login/end-login.ts'
import { parseSshCertificate } from '../../protocols/kit/ssh-certificate.ts'
import { startProviderSite, type ProviderSite } from '../fakes/provider-site.ts'
import { createSshKey } from '../fakes/ssh-keys.ts'
import { follow, type FeedClient } from './feed-client.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import {
  resourceNamed,
  startTestControl,
  type RunningSite,
  type TestProxy,
} from './running-control.ts'

const hourMs = 3_600_000
const remoteAddress = '203.0.113.5'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

describe.each(['embedded', 'postgres'] as const)('a terminal, over the %s store', (engine) => {
  let provider: ProviderSite
  let site: RunningSite
  let proxy: TestProxy
  let other: TestProxy
  let feed: FeedClient
  let anyone: ApiClient

  beforeAll(async () => {
    provider = await startProviderSite('demo', { linkByEmail: true })
    site = await startTestControl({
      login: provider.settings,
      ...(engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() }),
    })
    ;[proxy, other] = [await site.addProxy(), await site.addProxy()]
    await site.admin.call('resourcesApply', {
      body: { file: { resources: [resourceNamed('orders-db')] } },
    })
    const authorityPem = site.running.control.keys.authorities.control.certificatePem
    feed = await follow({ url: site.running.url, authorityPem }, proxy)
    anyone = createApiClient({ baseUrl: site.running.url, authorityPem })
  })
  afterAll(async () => {
    anyone?.close()
    feed?.close()
    await site.close()
    await provider.close()
  })

  const begin = (address = remoteAddress) =>
    proxy.api.call('proxySshSignIn', { body: { remoteAddress: address } })
  const wait = (signInId: string, waitMs = 20_000, by = proxy) =>
    by.api.call('proxySshSignInWait', { body: { signInId, waitMs } })

  async function signIn(email: string) {
    const begun = await begin()
    await provider.signIn(begun.url, email)
    const done = await wait(begun.signInId)
    if (done.state !== 'signed-in') throw new Error(`not signed in: ${JSON.stringify(done)}`)
    return { ...begun, ...done }
  }
  let lastRequest = 0
  async function confirm(personId: string, loginId: string, client = feed) {
    const requestId = ++lastRequest
    client.send({
      ...{ kind: 'confirm', requestId, sessionId: randomUUID(), personId, loginId },
      ...{ resource: 'orders-db', wanted: '', protocol: 'ssh' },
    })
    const answer = await Promise.any([
      client.next('confirmed', (message) => message.requestId === requestId),
      client.next('denied', (message) => message.requestId === requestId),
    ])
    return answer.kind === 'denied' ? answer.why : 'confirmed'
  }

  test('says what is signed in, waits for the page, and then who it was', async () => {
    const begun = await begin()
    expect(begun.notice).toContain(remoteAddress)
    expect(begun.url).toMatch(/^https:/)
    expect(await wait(begun.signInId, 0)).toEqual({ state: 'pending' })
    const waiting = wait(begun.signInId)
    await provider.signIn(begun.url, 'dev@example.test')
    const done = await waiting
    expect(done).toMatchObject({ state: 'signed-in', personEmail: 'dev@example.test' })
    // An answer that got lost on its way is given again, and to nobody else.
    expect(await wait(begun.signInId, 0)).toEqual(done)
    expect(await wait(begun.signInId, 0, other)).toMatchObject({ state: 'refused' })
    const actions = await site.admin.call('auditActions', { query: {} })
    expect(actions.items.find(({ action }) => action === 'login.begun')).toMatchObject({
      ...{ actorEmail: 'dev@example.test', remoteAddress },
      details: { flow: 'terminal', proxyId: proxy.joined.proxyId },
    })
  })

  test('is the proxy’s that began it: another can neither wait for it nor use it', async () => {
    const begun = await begin()
    await provider.signIn(begun.url, 'dev@example.test')
    expect(await wait(begun.signInId, 0, other)).toMatchObject({ state: 'refused' })
    expect(await wait(randomUUID(), 0)).toMatchObject({ state: 'refused' })
    const done = await wait(begun.signInId)
    expect(done.state).toBe('signed-in')
    if (done.state !== 'signed-in') return
    const authorityPem = site.running.control.keys.authorities.control.certificatePem
    const elsewhere = await follow({ url: site.running.url, authorityPem }, other)
    expect(await confirm(done.personId, done.loginId, elsewhere)).toBe('login-ended')
    elsewhere.close()
  })

  test('lets its person in until it ends, and no other', async () => {
    const dev = await signIn('dev@example.test')
    await site.admin.call('grantMake', {
      body: {
        ...{ person: 'dev@example.test', resource: 'orders-db', level: 'read' },
        ...{ forMs: 12 * hourMs, reason: 'a test' },
      },
    })
    expect(await confirm(dev.personId, dev.loginId)).toBe('confirmed')
    const lead = await signIn('lead@example.test')
    expect(await confirm(lead.personId, dev.loginId)).toBe('login-ended')
    try {
      site.clock.shiftMs = 8 * hourMs + 1_000
      expect(await confirm(dev.personId, dev.loginId)).toBe('login-ended')
    } finally {
      site.clock.shiftMs = 0
    }
    const { control } = site.running
    const actor = { id: '', email: 'control', remoteAddress: '' }
    await endLogin({ control, provider: undefined, proxy: undefined }, actor, dev.loginId, 'over')
    expect(await confirm(dev.personId, dev.loginId)).toBe('login-ended')
    // To the proxy it is the serial of what the session was identified by.
    await feed.next('events', ({ events }) =>
      events.some((event) => event.kind === 'certificate-revoked' && event.serial === dev.loginId),
    )
    const authorityPem = control.keys.authorities.control.certificatePem
    const fresh = await follow({ url: site.running.url, authorityPem }, other)
    await fresh.next('resync', ({ more }) => !more)
    const ended = fresh
      .events()
      .flatMap((event) => (event.kind === 'certificate-revoked' ? event.serial : []))
    expect(ended).toContain(dev.loginId)
    fresh.close()
  })

  test('ends with its person', async () => {
    const lead = await signIn('lead@example.test')
    const params = { id: lead.personId }
    await site.admin.call('personRevoke', { params, body: { reason: 'a test' } })
    expect(await confirm(lead.personId, lead.loginId)).toBe('person-revoked')
    const begun = await begin()
    await provider.signIn(begun.url, 'lead@example.test')
    expect(await wait(begun.signInId)).toMatchObject({ state: 'refused' })
    await site.admin.call('personRestore', { params, body: { reason: 'a test' } })
    expect(await confirm(lead.personId, lead.loginId)).toBe('login-ended')
  })

  test('is listed, and ended by its person or an admin, and by nobody else', async () => {
    const dev = await signIn('dev@example.test')
    const lead = await signIn('lead@example.test')
    const { requestPem, privateKeyPem } = await createKeyAndRequest()
    const begun = await anyone.call('loginDevice', { body: { requestPem } })
    await provider.signIn(begun.verificationUrlComplete!, 'dev@example.test')
    const asked = { params: { id: begun.id }, body: { secret: begun.secret } }
    const done = await anyone.call('loginDevicePoll', asked)
    if (done.state !== 'done') throw new Error(done.state)
    const authorityPem = site.running.control.keys.authorities.control.certificatePem
    const { certificatePem } = done.certificate
    const caller = { certificatePem, privateKeyPem }
    const api = createApiClient({ baseUrl: site.running.url, authorityPem, ...caller })
    const listed = async (by: ApiClient, query = {}) => (await by.call('logins', { query })).items
    const end = (by: ApiClient, id: string) =>
      by.call('loginEnd', { params: { id }, body: { reason: 'a test' } })
    try {
      const mine = await listed(api)
      expect(mine.every(({ personEmail }) => personEmail === 'dev@example.test')).toBe(true)
      expect(mine[0]).toMatchObject({ id: done.login.id, proxyName: null, state: 'live' })
      expect(mine.find(({ id }) => id === dev.loginId)!.proxyName).toBeTruthy()
      const theirs = await listed(site.admin, { person: 'lead@example.test' })
      expect(theirs.map(({ id }) => id)).toContain(lead.loginId)
      await expect(end(api, lead.loginId)).rejects.toMatchObject({ code: 'not-found' })
      expect(await confirm(lead.personId, lead.loginId)).not.toBe('login-ended')
      await end(api, dev.loginId)
      await end(site.admin, lead.loginId)
      for (const login of [dev, lead]) {
        expect(await confirm(login.personId, login.loginId)).toBe('login-ended')
        await feed.next('events', ({ events }) =>
          events.some(
            (event) => event.kind === 'certificate-revoked' && event.serial === login.loginId,
          ),
        )
      }
      expect((await listed(api)).map(({ id }) => id)).not.toContain(dev.loginId)
      const over = (await listed(api, { state: 'all' })).find(({ id }) => id === dev.loginId)
      expect(over).toMatchObject({ state: 'ended', endReason: 'a test' })
      const { items } = await site.admin.call('auditActions', { query: {} })
      expect(items.find(({ target }) => target === dev.loginId)).toMatchObject({
        ...{ action: 'login.ended', actorEmail: 'dev@example.test' },
      })
      // Again changes nothing; of its own, it takes the certificate along.
      await end(api, dev.loginId)
      await end(api, done.login.id)
      await expect(api.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
    } finally {
      api.close()
    }
  })

  test('an auditor signs in to read the audit, and to nothing else', async () => {
    const body = { email: 'oncall@example.test', roles: ['auditor' as const] }
    await site.admin.call('personCreate', { body })
    const begun = await begin()
    await provider.signIn(begun.url, 'oncall@example.test')
    expect(await wait(begun.signInId)).toMatchObject({
      ...{ state: 'refused', why: 'an auditor signs in to no resource' },
    })
    expect(await wait(begun.signInId, 0)).toMatchObject({ state: 'refused' })
    const { requestPem } = await createKeyAndRequest()
    const device = await anyone.call('loginDevice', {
      body: { requestPem, sshPublicKey: createSshKey().line },
    })
    await provider.signIn(device.verificationUrlComplete!, 'oncall@example.test')
    const done = await anyone.call('loginDevicePoll', {
      ...{ params: { id: device.id }, body: { secret: device.secret } },
    })
    expect(done).toMatchObject({ state: 'done', person: { roles: ['auditor'] } })
    if (done.state === 'done') expect(done.certificate.ssh).toBeUndefined()
  })

  test('of one network only so many wait, and those that were left make room', async () => {
    const { perNetwork } = attemptsMax.terminal
    const from = '198.51.100.9'
    const begun = await Promise.allSettled(
      Array.from({ length: perNetwork + 5 }, () => begin(from)),
    )
    expect(begun.filter(({ status }) => status === 'fulfilled')).toHaveLength(perNetwork)
    await expect(begin(from)).rejects.toMatchObject({ code: 'rate-limited' })
    // Neither other clients nor `sally login` are in their way.
    await begin('198.51.100.10')
    const { requestPem } = await createKeyAndRequest()
    await anyone.call('loginDevice', { body: { requestPem } })
    try {
      site.clock.shiftMs = 61_000
      await begin(from)
    } finally {
      site.clock.shiftMs = 0
    }
  })

  test('a sign-in with sally certifies the SSH key that it brings, and renews it', async () => {
    const { requestPem, privateKeyPem } = await createKeyAndRequest()
    const key = createSshKey()
    const body = { requestPem, sshPublicKey: key.line }
    const begun = await anyone.call('loginDevice', { body })
    await provider.signIn(begun.verificationUrlComplete!, 'dev@example.test')
    const params = { id: begun.id }
    const done = await anyone.call('loginDevicePoll', { params, body: { secret: begun.secret } })
    if (done.state !== 'done') throw new Error(done.state)
    const { certificatePem, ssh } = done.certificate
    const read = parseSshCertificate(Buffer.from(ssh!.certificate.split(' ')[1]!, 'base64'))
    expect(read.keyId).toBe('dev@example.test')
    expect(ssh!.expiresAtMs).toBeLessThanOrEqual(done.login.endsAtMs)
    const authorityPem = site.running.control.keys.authorities.control.certificatePem
    const caller = { certificatePem, privateKeyPem }
    const api = createApiClient({ baseUrl: site.running.url, authorityPem, ...caller })
    const renewed = await api.call('loginRefresh', { body })
    expect(renewed.certificate.ssh!.serial).not.toBe(ssh!.serial)
    expect(renewed.certificate.ssh!.expiresAtMs).toBeLessThanOrEqual(done.login.endsAtMs)
    await api.call('logout', { body: {} })
    api.close()
    for (const { serial } of [ssh!, renewed.certificate.ssh!]) {
      await feed.next('events', ({ events }) =>
        events.some((event) => event.kind === 'certificate-revoked' && event.serial === serial),
      )
    }
  })

  test('a key that is none is refused before anybody signs in', async () => {
    const { requestPem } = await createKeyAndRequest()
    const body = { requestPem, sshPublicKey: 'ssh-ed25519 AAAA' }
    await expect(anyone.call('loginDevice', { body })).rejects.toMatchObject({
      code: 'request-invalid',
    })
  })

  test('a provider that is away is said to be so', async () => {
    const begun = await begin()
    await provider.stop()
    try {
      await expect(wait(begun.signInId, 0)).rejects.toMatchObject({ code: 'sign-in-unavailable' })
      await expect(begin()).rejects.toMatchObject({ code: 'sign-in-unavailable' })
    } finally {
      await provider.start()
    }
  })
})
