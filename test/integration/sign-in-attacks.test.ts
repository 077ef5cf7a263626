/** Signing in, tried as an attacker: of the attempts, of the provider's answers, of other people's addresses. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { createApiClient, type ApiClient } from '../../control/api/client.ts'
import type { LoginSettings } from '../../control/login/login-settings.ts'
import { attemptsMax } from '../../control/login/attempts.ts'
import {
  crookedSecret,
  json,
  startCrookedProvider,
  type CrookedProvider,
} from '../fakes/crooked-provider.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { startTestControl, type RunningSite } from './running-control.ts'

const redirectUri = 'http://127.0.0.1:40123/callback'
let directory: string
let provider: CrookedProvider
let server: PostgresServer
let site: RunningSite
/** A second replica on the same store. */
let other: RunningSite
let anyone: ApiClient
let elsewhere: ApiClient

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-attacks-'))
  server = await startPostgresServer()
  provider = await startCrookedProvider()
  const login = settings()
  const replicas = {
    login,
    databaseUrl: await server.createDatabase(),
    sealingKeyFile: join(directory, 'sealing.key'),
  }
  site = await startTestControl(replicas)
  other = await startTestControl(replicas)
  anyone = open(site)
  elsewhere = open(other)
})
afterEach(async () => {
  // Attempts that a test left open count against the next one's, and so does how many it began in this minute.
  site.clock.passedMs += 60_000
  await site.running.stores.state.query('delete from login_attempts')
  provider.claims = {}
  provider.userinfo = {}
  provider.signing = 'right'
  provider.answers.clear()
  site.clock.shiftMs = 0
})
afterAll(async () => {
  anyone.close()
  elsewhere.close()
  await other.close()
  await site.close()
  await provider.close()
  await server.stop()
  rmSync(directory, { recursive: true, force: true })
})

function settings(more: Partial<LoginSettings> = {}): LoginSettings {
  const [caFile, clientSecretFile] = [join(directory, 'ca.pem'), join(directory, 'secret')]
  writeFileSync(caFile, provider.authorityPem)
  writeFileSync(clientSecretFile, crookedSecret, { mode: 0o600 })
  return {
    ...{ issuer: provider.issuer, clientId: 'sallyport', clientSecretFile, caFile },
    ...{ groupsClaim: 'groups', scopes: ['openid'], adminGroups: [], auditorGroups: [] },
    linkByEmail: false,
    ...more,
  }
}

/** Of a realm of its own, with other settings. */
const another = async (more: Partial<LoginSettings>): Promise<RunningSite> =>
  startTestControl({ login: settings(more), databaseUrl: await server.createDatabase() })

function open(at: RunningSite): ApiClient {
  const authorityPem = at.running.control.keys.authorities.control.certificatePem
  return createApiClient({ baseUrl: at.running.url, authorityPem })
}

const refused = { code: 'sign-in-refused' }
const unavailable = { code: 'sign-in-unavailable' }
async function beginDevice(api = anyone) {
  const { requestPem } = await createKeyAndRequest()
  return api.call('loginDevice', { body: { requestPem } })
}
const poll = ({ id, secret }: { id: string; secret: string }, api = anyone) =>
  api.call('loginDevicePoll', { params: { id }, body: { secret } })
const signIn = async (api = anyone) => poll(await beginDevice(api), api)

async function beginCode(api = anyone) {
  const { requestPem } = await createKeyAndRequest()
  const begun = await api.call('loginCode', { body: { requestPem, redirectUri } })
  const asked = new URL(begun.authorizationUrl).searchParams
  return { ...begun, state: asked.get('state')!, nonce: asked.get('nonce')! }
}
const finish = (
  begun: { id: string; secret: string; state: string },
  more: { secret?: string; state?: string; iss?: string } = {},
  api = anyone,
) => {
  const { id, secret, state } = begun
  const body = { secret, state, code: 'a-code', ...more }
  return api.call('loginCodeFinish', { params: { id }, body })
}

describe('attempts', () => {
  test('another replica goes on with what one began; a secret is of use once, also for two at a time', async () => {
    const begun = await beginDevice()
    expect(await poll(begun, elsewhere)).toMatchObject({ state: 'done' })
    for (const api of [anyone, elsewhere])
      await expect(poll(begun, api)).rejects.toMatchObject(refused)
    const raced = await beginDevice()
    const answers = await Promise.allSettled(
      [anyone, elsewhere, anyone, elsewhere].map((api) => poll(raced, api)),
    )
    const done = answers.filter(
      (answer) => answer.status === 'fulfilled' && answer.value.state === 'done',
    )
    expect(done).toHaveLength(1)
  })

  test('another’s id, another’s secret, a wrong kind and an unknown id all get the same answer', async () => {
    const [mine, theirs] = [await beginDevice(), await beginDevice()]
    const code = await beginCode()
    const told: unknown[] = []
    for (const [id, secret] of [
      [theirs.id, mine.secret],
      [mine.id, 'A'.repeat(43)],
      [code.id, code.secret],
      ['00000000-0000-4000-8000-000000000000', mine.secret],
    ] as const) {
      const error: unknown = await poll({ id, secret }).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      expect(error).toMatchObject(refused)
      told.push((error as { clientMessage: string }).clientMessage)
    }
    expect(new Set(told).size).toBe(1)
    // Nothing of that used up what is theirs.
    expect(await poll(theirs)).toMatchObject({ state: 'done' })
  })

  test('an attempt ends in time', async () => {
    const begun = await beginDevice()
    site.clock.shiftMs = begun.endsAtMs - site.clock.wallMs() + 1_000
    await expect(poll(begun)).rejects.toMatchObject(refused)
  })

  test('secrets are in the store as hashes, and what the provider gave is sealed', async () => {
    const begun = await beginDevice()
    const rows = await site.running.stores.state.query<Record<string, unknown>>(
      'select * from login_attempts where id = $1',
      [begun.id],
    )
    const text = JSON.stringify(rows)
    const bytes = Buffer.concat(
      Object.values(rows[0]!).filter((value): value is Buffer => Buffer.isBuffer(value)),
    )
    for (const secret of [begun.secret, 'a-device-code']) {
      expect(text).not.toContain(secret)
      expect(bytes.includes(Buffer.from(secret))).toBe(false)
      expect(bytes.includes(Buffer.from(begun.secret, 'base64url'))).toBe(false)
    }
  })

  test.each([
    'http://localhost:40123/callback',
    'http://127.0.0.1:40123/callback/',
    'http://127.0.0.1:40123/callback?x=1',
    'http://127.0.0.1:40123/callback#x',
    'http://127.0.0.1:80/callback',
    'http://127.0.0.1:65536/callback',
    'http://127.0.0.1:040123/callback',
    'http://127.0.0.1.example.com:40123/callback',
    'http://127.0.0.1:40123@evil.example.com/callback',
    'https://127.0.0.1:40123/callback',
    'http://127.0.0.1/callback',
    'http://127.0.0.1:40123/other',
  ])('%s is no address to come back to', async (address) => {
    const { requestPem } = await createKeyAndRequest()
    await expect(
      anyone.call('loginCode', { body: { requestPem, redirectUri: address } }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
  })

  test('a wrong state, and a code with another attempt’s state, are refused and burn the attempt', async () => {
    const [one, two] = [await beginCode(), await beginCode()]
    const before = provider.asked.length
    await expect(finish(one, { state: two.state })).rejects.toMatchObject(refused)
    await expect(finish(one)).rejects.toMatchObject(refused)
    await expect(finish(two, { secret: one.secret })).rejects.toMatchObject(refused)
    // The provider was never asked.
    expect(provider.asked).toHaveLength(before)
    provider.claims = { nonce: two.nonce }
    expect(await finish(two)).toMatchObject({ state: 'done' })
    const asked = provider.asked.at(-1)!
    expect(asked.get('redirect_uri')).toBe(redirectUri)
    expect(asked.get('code_verifier')).toMatch(/^.{43,}$/)
  })

  test('a code from another issuer is refused (mix-up)', async () => {
    const begun = await beginCode()
    provider.claims = { nonce: begun.nonce }
    await expect(finish(begun, { iss: 'https://evil.example.com' })).rejects.toMatchObject({
      code: expect.stringMatching(/^sign-in-/) as string,
    })
  })
})

describe('tokens', () => {
  test.each<[string, Record<string, unknown>]>([
    ['no nonce', {}],
    ['another nonce', { nonce: 'another' }],
  ])('code flow, %s', async (_, claims) => {
    const begun = await beginCode()
    provider.claims = claims
    await expect(finish(begun)).rejects.toMatchObject({
      code: expect.stringMatching(/^sign-in-/) as string,
    })
  })

  const nowSeconds = (): number => Math.floor(Date.now() / 1_000)
  test.each<[string, () => Record<string, unknown>]>([
    ['another issuer', () => ({ iss: 'https://evil.example.com' })],
    ['another audience', () => ({ aud: 'another-client' })],
    ['two audiences without azp', () => ({ aud: ['sallyport', 'other'] })],
    ['another azp', () => ({ aud: ['sallyport', 'other'], azp: 'other' })],
    ['expired', () => ({ exp: nowSeconds() - 120 })],
    ['issued in the future', () => ({ iat: nowSeconds() + 600 })],
    ['no subject', () => ({ sub: undefined })],
    ['an empty subject', () => ({ sub: '' })],
    ['a subject with line feeds', () => ({ sub: 'a\nb' })],
    ['groups that are objects', () => ({ groups: [{}] })],
    ['too many groups', () => ({ groups: Array.from({ length: 500 }, (_, at) => `g${at}`) })],
    ['a time that is text', () => ({ auth_time: 'yesterday' })],
  ])('%s', async (_, claims) => {
    provider.claims = claims()
    await expect(signIn()).rejects.toMatchObject({
      code: expect.stringMatching(/^sign-in-(refused|unavailable)$/) as string,
      hint: expect.stringMatching(/./) as string,
    })
  })

  test.each(['none', 'other', 'shared'] as const)('signed wrongly: %s', async (signing) => {
    provider.signing = signing
    await expect(signIn()).rejects.toMatchObject(unavailable)
  })

  test('an honest one lets in', async () => {
    expect(await signIn()).toMatchObject({
      state: 'done',
      person: { email: 'mallory@example.test' },
    })
  })
})

describe('other people’s addresses', () => {
  test('an unverified address takes nobody over, and makes nobody', async () => {
    await site.addPerson('victim@example.test', ['admin'])
    for (const email_verified of [false, undefined, 'no', 1]) {
      provider.claims = { sub: 'thief', email: 'victim@example.test', email_verified }
      await expect(signIn()).rejects.toMatchObject(refused)
      provider.claims = { sub: 'thief', email: 'nobody@example.test', email_verified }
      await expect(signIn()).rejects.toMatchObject(refused)
    }
  })

  test('a verified address takes a local person over only where the operator allows it', async () => {
    provider.claims = { sub: 'thief', email: 'Victim@Example.test' }
    await expect(signIn()).rejects.toMatchObject(refused)
    const linking = await another({ linkByEmail: true })
    const api = open(linking)
    try {
      const local = await linking.addPerson('victim@example.test', ['admin'])
      const done = await signIn(api)
      expect(done).toMatchObject({ state: 'done', person: { id: local.person.id } })
      // From now on it is that subject’s, and nobody else’s.
      provider.claims = { sub: 'another thief', email: 'victim@example.test' }
      await expect(signIn(api)).rejects.toMatchObject(refused)
    } finally {
      api.close()
      await linking.close()
    }
  })

  test('roles follow groups where the operator says so, and only there', async () => {
    provider.claims = { sub: 'climber', email: 'climber@example.test', groups: ['ops', 'admin'] }
    expect(await signIn()).toMatchObject({ person: { roles: ['engineer'] } })
    const mapping = await another({ adminGroups: ['ops'] })
    const api = open(mapping)
    try {
      expect(await signIn(api)).toMatchObject({ person: { roles: ['engineer', 'admin'] } })
      provider.claims = { ...provider.claims, groups: [] }
      expect(await signIn(api)).toMatchObject({ person: { roles: ['engineer'], groups: [] } })
    } finally {
      api.close()
      await mapping.close()
    }
  })
})

describe('a provider that leaves claims out', () => {
  const none = { email_verified: undefined, groups: undefined }

  test('is refused unless the operator said what that means; then a no stays a no', async () => {
    provider.claims = { sub: 'plain', email: 'plain@example.test', email_verified: undefined }
    await expect(signIn()).rejects.toMatchObject({
      ...refused,
      hint: expect.stringMatching(/--oidc-trust-unmarked-emails/) as string,
    })
    provider.claims = { sub: 'plain', email: 'plain@example.test', groups: undefined }
    await expect(signIn()).rejects.toMatchObject({
      ...refused,
      hint: expect.stringMatching(/--oidc-missing-groups-mean-none/) as string,
    })
    const more = { trustUnmarkedEmails: true, missingGroupsMeanNone: true, adminGroups: ['ops'] }
    const trusting = await another(more)
    const api = open(trusting)
    try {
      for (const email_verified of [false, 'no', 'false', null, 0]) {
        provider.claims = { sub: 'plain', email: 'plain@example.test', ...none, email_verified }
        await expect(signIn(api)).rejects.toMatchObject(refused)
      }
      // Said elsewhere, about this address or another.
      provider.claims = { sub: 'plain', email: 'plain@example.test', ...none }
      provider.userinfo = { email: 'plain@example.test', email_verified: false }
      await expect(signIn(api)).rejects.toMatchObject(refused)
      provider.userinfo = {}
      const many = { _claim_names: { groups: 'src1' }, _claim_sources: { src1: {} } }
      provider.claims = { ...provider.claims, ...many }
      await expect(signIn(api)).rejects.toMatchObject({
        clientMessage: expect.stringMatching(
          /"groups" is not sent, for they are too many/,
        ) as string,
      })
      provider.claims = { sub: 'plain', email: 'plain@example.test', ...none }
      expect(await signIn(api)).toMatchObject({
        person: { email: 'plain@example.test', groups: [], roles: ['engineer'] },
      })
      // A claim that is there and wrong is still wrong, and nobody is taken over.
      provider.claims = { ...provider.claims, groups: [{}] }
      await expect(signIn(api)).rejects.toMatchObject(refused)
      provider.claims = { sub: 'thief', email: 'plain@example.test', ...none }
      await expect(signIn(api)).rejects.toMatchObject(refused)
      provider.claims = { sub: 'thief', email: 'admin@example.test', ...none }
      await expect(signIn(api)).rejects.toMatchObject(refused)
    } finally {
      api.close()
      await trusting.close()
    }
  })

  test('the userinfo endpoint fills in, for the same address, and names no other issuer', async () => {
    const person = { sub: 'filled', email: 'filled@example.test', ...none }
    const said = { groups: ['engineers'], email_verified: true }
    provider.claims = person
    provider.userinfo = { ...said, email: 'other@example.test' }
    await expect(signIn()).rejects.toMatchObject(refused)
    provider.userinfo = { ...said, email: 'filled@example.test', iss: 'https://evil.example.com' }
    expect(await signIn()).toMatchObject({
      person: { email: 'filled@example.test', groups: ['engineers'] },
      login: { issuer: provider.issuer },
    })
  })
})

describe('a provider that talks nonsense', () => {
  const at = ['/.well-known/openid-configuration', '/device', '/token', '/jwks'] as const
  test.each(at)('%s', async (path) => {
    // Its discovery was not done yet, and what fails is not remembered.
    const fresh = path.startsWith('/.well-known')
    const control = fresh ? await another({}) : undefined
    const api = control === undefined ? anyone : open(control)
    const answers: ((response: ServerResponse) => void)[] = [
      (response) => json(response, 500, { error: 'x' }),
      (response) => json(response, 200, { no: 'sense' }),
      (response) => json(response, 200, null),
      (response) => response.end('<html>'),
      (response) => response.destroy(),
      (response) => response.writeHead(302, { location: 'https://127.0.0.1:1/' }).end(),
      (response) =>
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(`"${'x'.repeat(1_000_000)}"`),
    ]
    try {
      for (const answer of answers) {
        provider.answers.set(path, answer)
        await expect(signIn(api)).rejects.toMatchObject({
          code: 'sign-in-unavailable',
          clientMessage: expect.stringMatching(/identity provider/) as string,
        })
      }
    } finally {
      if (control !== undefined) {
        api.close()
        await control.close()
      }
    }
  })

  test('a link that is no https address is not handed on', async () => {
    const begun = { device_code: 'x', user_code: 'A', expires_in: 600 }
    for (const more of [
      { verification_uri: 'javascript:alert(1)' },
      { verification_uri: 'http://evil.example.com' },
      { verification_uri: `${provider.issuer}/\u001b[2J` },
      { verification_uri: provider.issuer, user_code: 'A\u001b[2J' },
    ]) {
      provider.answers.set('/device', (response) => json(response, 200, { ...begun, ...more }))
      await expect(beginDevice()).rejects.toMatchObject(unavailable)
    }
  })
})

test('without a provider, signing in is refused clearly and everything else works', async () => {
  const plain = await startTestControl({ databaseUrl: await server.createDatabase() })
  const api = open(plain)
  try {
    await expect(beginDevice(api)).rejects.toMatchObject({
      ...unavailable,
      hint: expect.stringMatching(/sally people certificate/) as string,
    })
    const person = await plain.addPerson('dev@example.test', ['engineer'])
    expect((await person.api.call('whoami')).login).toBeNull()
    await person.api.call('logout', { body: {} })
    await expect(person.api.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
  } finally {
    api.close()
    await plain.close()
  }
})

test('who starts many at once is stopped, over all replicas, and those under way go on', async () => {
  const mine = await beginDevice()
  const begun = await Promise.allSettled(
    Array.from({ length: attemptsMax.page.perNetwork + 20 }, (_, at) =>
      beginDevice(at % 2 === 0 ? anyone : elsewhere),
    ),
  )
  const stopped = begun.filter((answer) => answer.status === 'rejected')
  expect(stopped.length).toBeGreaterThanOrEqual(20)
  for (const answer of stopped) expect(answer.reason).toMatchObject({ code: 'rate-limited' })
  expect(begun.length - stopped.length).toBeLessThan(attemptsMax.page.perNetwork)
  expect(await poll(mine)).toMatchObject({ state: 'done' })
})
