/** Signing in with a real provider (oidc-provider), in the demo's configuration and in a foreign one. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { createApiClient, type ApiClient } from '../../control/api/client.ts'
import type { DeviceBegun, SignedIn } from '../../control/api/login.ts'
import { startProviderSite, type ProviderSite } from '../fakes/provider-site.ts'
import { verifyControlChain } from './verify-control-chain.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { startTestControl, type RunningSite } from './running-control.ts'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

const without = (claims: Record<string, unknown>, name: string): Record<string, unknown> =>
  Object.fromEntries(Object.entries(claims).filter(([each]) => each !== name))

const redirectUri = 'http://127.0.0.1:40123/callback'
const hourMs = 3_600_000

describe.each(['demo', 'foreign'] as const)('a %s provider', (flavour) => {
  let provider: ProviderSite
  let site: RunningSite
  let anyone: ApiClient
  const opened: ApiClient[] = []

  beforeAll(async () => {
    provider = await startProviderSite(flavour)
    const databaseUrl = flavour === 'demo' ? {} : { databaseUrl: await server.createDatabase() }
    const proxyAddress = { host: '127.0.0.1', ports: { postgres: 15_432 } }
    site = await startTestControl({ login: provider.settings, proxyAddress, ...databaseUrl })
    anyone = open()
  })
  afterEach(() => {
    site.clock.shiftMs = 0
    provider.claimsOf = undefined
  })
  afterAll(async () => {
    for (const api of opened) api.close()
    await site.close()
    await provider.close()
  })

  function open(caller: { certificatePem?: string; privateKeyPem?: string } = {}): ApiClient {
    const authorityPem = site.running.control.keys.authorities.control.certificatePem
    const api = createApiClient({ baseUrl: site.running.url, authorityPem, ...caller })
    opened.push(api)
    return api
  }

  async function begin(): Promise<DeviceBegun & { privateKeyPem: string }> {
    const { privateKeyPem, requestPem } = await createKeyAndRequest()
    return { ...(await anyone.call('loginDevice', { body: { requestPem } })), privateKeyPem }
  }
  const poll = ({ id, secret }: { id: string; secret: string }) =>
    anyone.call('loginDevicePoll', { params: { id }, body: { secret } })

  /** The whole device flow as somebody; their API client. */
  async function signIn(email: string): Promise<SignedIn & { api: ApiClient }> {
    const begun = await begin()
    await provider.signIn(begun.verificationUrlComplete ?? begun.verificationUrl, email)
    const done = await poll(begun)
    if (done.state !== 'done') throw new Error(`not done: ${done.state}`)
    const { certificatePem } = done.certificate
    return { ...done, api: open({ certificatePem, privateKeyPem: begun.privateKeyPem }) }
  }

  async function beginCode() {
    const { requestPem, privateKeyPem } = await createKeyAndRequest()
    const begun = await anyone.call('loginCode', { body: { requestPem, redirectUri } })
    return { ...begun, privateKeyPem }
  }
  async function comeBack(begun: { authorizationUrl: string }, email: string) {
    const { url } = await provider.signIn(begun.authorizationUrl, email)
    const found = new URL(url).searchParams
    const iss = found.get('iss')
    return {
      code: found.get('code')!,
      state: found.get('state')!,
      ...(iss === null ? {} : { iss }),
    }
  }
  const refused = (hint: RegExp | string) => ({
    code: 'sign-in-refused',
    clientMessage: expect.stringMatching(hint) as string,
  })

  test('device flow: link and code, pending, then a certificate that is the person’s', async () => {
    const begun = await begin()
    expect(begun.verificationUrl).toBe(`${provider.issuer}/device`)
    expect(await poll(begun)).toEqual({ state: 'pending', intervalMs: begun.intervalMs })
    expect(await poll(begun)).toMatchObject({ state: 'slow-down' })
    site.clock.shiftMs = begun.intervalMs
    const page = await provider.signIn(begun.verificationUrlComplete!, 'newcomer@example.test')
    expect(page.html).toMatch(/Done/)
    const done = await poll(begun)
    if (done.state !== 'done') throw new Error(done.state)
    expect(done.person).toMatchObject({
      email: 'newcomer@example.test',
      name: 'The newcomer',
      roles: ['engineer'],
      groups: ['engineers', 'newcomers'],
    })
    expect(done.home).toMatchObject({ domain: 'access.example.test', proxyHost: '127.0.0.1' })
    const { certificatePem } = done.certificate
    const api = open({ certificatePem, privateKeyPem: begun.privateKeyPem })
    const me = await api.call('whoami')
    expect(me.person.id).toBe(done.person.id)
    expect(me.login).toMatchObject({
      id: done.login.id,
      issuer: provider.issuer,
      acr: 'urn:example:password',
      amr: ['pwd', 'otp'],
      refreshable: true,
    })
    expect(me.login!.authTimeMs).toBeGreaterThan(0)
    expect(me.certificate!.expiresAtMs).toBeLessThanOrEqual(me.login!.endsAtMs)
    expect(me.login!.endsAtMs - me.login!.begunAtMs).toBe(8 * hourMs)
  })

  test('code with PKCE: the same person, from the same subject', async () => {
    const first = await signIn('oncall@example.test')
    const begun = await beginCode()
    const asked = new URL(begun.authorizationUrl).searchParams
    expect(asked.get('code_challenge_method')).toBe('S256')
    expect(asked.get('nonce')).toMatch(/.{20}/)
    const body = { ...(await comeBack(begun, 'oncall@example.test')), secret: begun.secret }
    const done = await anyone.call('loginCodeFinish', { params: { id: begun.id }, body })
    expect(done.person.id).toBe(first.person.id)
    expect(done.login.id).not.toBe(first.login.id)
    // One use.
    await expect(
      anyone.call('loginCodeFinish', { params: { id: begun.id }, body }),
    ).rejects.toMatchObject(refused(/used already/))
  })

  test('a certificate cannot outlive its login, and ends with it', async () => {
    const { api, login } = await signIn('dev@example.test')
    site.clock.shiftMs = login.endsAtMs - login.begunAtMs + 60_000
    await expect(api.call('whoami')).rejects.toMatchObject({ code: 'evidence-expired' })
  })

  test('refresh asks the provider again: new groups, a new certificate, and out when disabled there', async () => {
    const dev = provider.accounts.findIndex(({ email }) => email === 'dev@example.test')
    const before = provider.accounts[dev]!
    const { api, login } = await signIn('dev@example.test')
    provider.accounts[dev] = { ...before, groups: ['engineers', 'leads'] }
    const { requestPem, privateKeyPem } = await createKeyAndRequest()
    const renewed = await api.call('loginRefresh', { body: { requestPem } })
    expect(renewed.person.groups).toEqual(['engineers', 'leads'])
    expect(renewed.login.id).toBe(login.id)
    expect(renewed.login.endsAtMs).toBe(login.endsAtMs)
    const { certificatePem } = renewed.certificate
    const next = open({ certificatePem, privateKeyPem })
    expect((await next.call('whoami')).person.groups).toEqual(['engineers', 'leads'])
    // Again, with the token that the provider rotated.
    await next.call('loginRefresh', { body: { requestPem } })
    provider.accounts.splice(dev, 1)
    try {
      await expect(next.call('loginRefresh', { body: { requestPem } })).rejects.toMatchObject({
        code: 'sign-in-refused',
      })
      for (const either of [api, next]) {
        await expect(either.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
      }
    } finally {
      provider.accounts.splice(dev, 0, before)
    }
  })

  test('signing out revokes every certificate of the login, and no other', async () => {
    const one = await signIn('dev@example.test')
    const other = await signIn('dev@example.test')
    const { requestPem, privateKeyPem } = await createKeyAndRequest()
    const renewed = await one.api.call('loginRefresh', { body: { requestPem } })
    const second = open({ certificatePem: renewed.certificate.certificatePem, privateKeyPem })
    const out = await second.call('logout', { body: {} })
    expect(out.endSessionUrl).toMatch(/^https:\/\/localhost/)
    for (const either of [one.api, second]) {
      await expect(either.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
    }
    expect((await other.api.call('whoami')).login!.id).toBe(other.login.id)
  })

  test('a revoked person is refused, and their logins are over', async () => {
    const { api, person } = await signIn('lead@example.test')
    await site.admin.call('personRevoke', { params: { id: person.id }, body: { reason: 'x' } })
    await expect(api.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
    await expect(signIn('lead@example.test')).rejects.toMatchObject(refused(/shut out/))
    await site.admin.call('personRestore', { params: { id: person.id }, body: { reason: 'x' } })
    await expect(api.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
    expect((await signIn('lead@example.test')).person.id).toBe(person.id)
  })

  test('keys of the provider rotate: the next sign-in knows the new ones', async () => {
    await signIn('dev@example.test')
    await provider.stop()
    await provider.start(true)
    await signIn('dev@example.test')
  })

  test('a provider that is away: a polite refusal, everything else goes on, and it comes back', async () => {
    const { api } = await signIn('dev@example.test')
    const begun = await begin()
    await provider.stop()
    await expect(begin()).rejects.toMatchObject({
      code: 'sign-in-unavailable',
      clientMessage: expect.stringMatching(/cannot be reached/) as string,
      hint: expect.stringMatching(/sally login/) as string,
    })
    await expect(poll(begun)).rejects.toMatchObject({ code: 'sign-in-unavailable' })
    const { requestPem } = await createKeyAndRequest()
    await expect(api.call('loginRefresh', { body: { requestPem } })).rejects.toMatchObject({
      code: 'sign-in-unavailable',
    })
    // Not ended by an outage.
    await api.call('whoami')
    await provider.start()
    await signIn('dev@example.test')
  })

  test('a clock within the tolerance does not matter, one that is off is named', async () => {
    site.clock.shiftMs = -45_000
    await signIn('dev@example.test')
    for (const offMs of [-300_000, 3_600_000]) {
      site.clock.shiftMs = offMs
      await expect(signIn('dev@example.test')).rejects.toMatchObject(refused(/clocks/))
    }
  })

  test('a claim that is missing or wrong is named', async () => {
    const claim = provider.settings.groupsClaim
    provider.claimsOf = (claims) => without(claims, claim)
    await expect(signIn('dev@example.test')).rejects.toMatchObject({
      ...refused(/is missing/),
      message: expect.stringContaining(`"${claim}"`) as string,
    })
    provider.claimsOf = (claims) => ({ ...claims, [claim]: [{ name: 'engineers' }] })
    await expect(signIn('dev@example.test')).rejects.toMatchObject(
      refused(/is not what it must be/),
    )
    provider.accounts.push({ ...provider.accounts[0]!, email: 'late@example.test' })
    provider.claimsOf = (claims) => without(claims, 'email')
    await expect(signIn('late@example.test')).rejects.toMatchObject(refused(/"email" is missing/))
    provider.claimsOf = (claims) => ({ ...claims, email_verified: false })
    await expect(signIn('late@example.test')).rejects.toMatchObject(refused(/"email_verified"/))
  })

  test('every step is on record, and the chain holds', async () => {
    const { items } = await site.admin.call('auditActions', { query: { limit: 1_000 } })
    const seen = new Set(items.map(({ action }) => action))
    for (const action of ['login.begun', 'login.refreshed', 'login.ended', 'person.created']) {
      expect(seen).toContain(action)
    }
    expect((await verifyControlChain(site.admin, 'without')).damage).toEqual([])
  })
})
