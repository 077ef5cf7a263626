/** What browsers and programs show at an app: cookies that control signed, and API tokens. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { resource as resourceShape } from '../../../control/api/resource.ts'
import { signToken, verifyToken, type AppSessionClaims } from '../../../control/api/tokens.ts'
import { challengeOf } from '../../../control/api/http.ts'
import { createKeySigner } from '../../../certs/key-signer.ts'
import { generateKeyPairSync } from 'node:crypto'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { Secret } from '../../../protocols/kit/secret.ts'
import type { Evidence } from '../../../protocols/engine.ts'
import { createBrowserSignIns } from '../../../proxy/identity/browser-sign-ins.ts'
import type { Policy } from '../../../proxy/policy/policy.ts'
import type { Confirmation } from '../../../proxy/control-link/confirmations.ts'
import {
  advanceUntil,
  createProxyWorld,
  createSigningKey,
  grantId,
  otherPerson,
  person,
  proxyId,
  silentLog,
  type ProxyWorld,
} from '../../fakes/proxy-world.ts'

const signInId = '77777777-7777-4777-8777-777777777777'
const tokenId = '66666666-6666-4666-8666-666666666666'
const otherGrant = '44444444-4444-4444-8444-444444444445'
const hourMs = 3_600_000
const wiki = resourceShape.parse({
  name: 'wiki',
  protocol: 'http',
  address: { host: '127.0.0.1', port: 5432 },
  tls: { mode: 'disable' },
  levels: {
    read: { account: 'reader', secret: 'fake:wiki/read' },
    write: { account: 'writer', secret: 'fake:wiki/write' },
  },
  http: { credential: { kind: 'bearer' } },
})
const policy: Policy = {
  secrets: [
    {
      ...{ reference: 'fake:wiki/*', matches: /^fake:wiki\//, serverName: undefined },
      ...{ addresses: [wiki.address], tls: 'disable', caPem: undefined },
      ...{ levels: ['read', 'write'], credential: { kind: 'bearer' } },
    },
  ],
}

let world: ProxyWorld
beforeEach(async () => {
  world = await createProxyWorld({ policy })
  await world.feed({ kind: 'resource', resource: wiki })
})
afterEach(() => world.close())

const http = { protocol: 'http', resource: 'wiki.access.test' } as const
const lease = (evidence: Evidence, changes: object = {}) =>
  world.leases.lease(world.arrival({ evidence, ...http, ...changes }))

async function cookieOf(
  changes: Partial<AppSessionClaims> = {},
  key = world.signing.key,
): Promise<Evidence> {
  const nowMs = world.clock.wallMs()
  const claims: AppSessionClaims = {
    ...{ realm: 'default', signInId, personId: person, personEmail: 'dev@example.test' },
    ...{ resource: 'wiki', group: 'default', grantId, level: 'read' },
    ...{ issuedAtMs: nowMs, expiresAtMs: nowMs + hourMs, ...changes },
  }
  return {
    kind: 'browser-session',
    cookie: new Secret(await signToken('app-session', claims, key)),
  }
}
const bearer = (text = `spa_${'x'.repeat(32)}`): Evidence => {
  return { kind: 'bearer', token: new Secret(text) }
}

async function grant(changes: Parameters<ProxyWorld['grantToken']>[0] = {}): Promise<string> {
  const token = await world.grantToken({ resource: 'wiki', ...changes })
  await world.feed({ kind: 'grant', token })
  return token
}

/** Control confirms the grant that is named, as long as it is in the feed. */
async function grantAndConfirm(): Promise<void> {
  const token = await grant()
  world.control.answer = () =>
    Promise.resolve({ kind: 'confirmed', token, position: world.view.position })
}

/** Control says whose the token is. */
async function takeToken(forMs = hourMs): Promise<void> {
  const token = await grant()
  const nowMs = world.clock.wallMs()
  const redeemed = {
    ...{ tokenId, personId: person, personEmail: 'dev@example.test' },
    ...{ issuedAtMs: nowMs, expiresAtMs: nowMs + forMs },
  }
  world.control.answer = (): Promise<Confirmation> =>
    Promise.resolve({ kind: 'confirmed', token, position: world.view.position, redeemed })
}

async function refusal(asked: Promise<unknown>) {
  const startedMs = world.clock.monotonicMs()
  const error = await advanceUntil(
    world,
    asked.then(
      () => undefined,
      (thrown: unknown) => thrown as SallyportError,
    ),
  )
  if (error === undefined) throw new Error('was let in')
  const { code, clientMessage, hint } = error
  return { code, clientMessage, hint, afterMs: world.clock.monotonicMs() - startedMs }
}

describe('a browser’s cookie', () => {
  it('opens a session of its person under its one grant, asked of control by its sign-in', async () => {
    await grantAndConfirm()
    await grant({ grantId: otherGrant, level: 'write', notBeforeMs: world.clock.wallMs() + 1_000 })
    const session = await lease(await cookieOf())
    expect(session.labels).toMatchObject({ personId: person, grantId, level: 'read' })
    expect(session.http).toMatchObject({ credential: { kind: 'bearer' } })
    const [asked] = world.control.asked
    expect(asked).toMatchObject({ browserSignInId: signInId, grantId, wanted: 'read' })
    expect(asked).not.toHaveProperty('certificateSerial')
    const opened = world.spool.events.find(({ type }) => type === 'session-opened')
    expect(opened!.meta).toMatchObject({ evidence: 'browser', certificateSerial: signInId })
    // The newer grant of the same person is not what this browser signed in for.
    const again = await lease(await cookieOf())
    expect(again.labels.sessionId).toBe(session.labels.sessionId)
  })

  it('gets no other grant, also where control names one', async () => {
    await grantAndConfirm()
    const refused = await refusal(lease(await cookieOf({ grantId: otherGrant })))
    expect(refused.code).toBe('access-denied')
    const higher = await refusal(lease(await cookieOf(), { wanted: 'write' }))
    expect(higher.code).toBe('access-denied')
    expect(world.registry.size).toBe(0)
  })

  it('is refused in the same words, whatever is wrong with it', async () => {
    await grantAndConfirm()
    const stranger = createSigningKey()
    const text = ((await cookieOf()) as { cookie: Secret<string> }).cookie.reveal()
    const lies: Evidence[] = [
      await cookieOf({}, stranger.key),
      await cookieOf({}, { ...stranger.key, kid: world.signing.kid }),
      await cookieOf({ resource: 'blog' }),
      await cookieOf({ group: 'edge' }),
      await cookieOf({ realm: 'other' }),
      ...['', 'x', text.slice(0, -1), `${text}x`, 'x'.repeat(100_000)].map((cookie) => {
        return { kind: 'browser-session' as const, cookie: new Secret(cookie) }
      }),
      // A grant is signed with the same key, and is none.
      { kind: 'browser-session', cookie: new Secret(await world.grantToken({ resource: 'wiki' })) },
    ]
    const words = new Set<string>()
    for (const evidence of lies) {
      const { code, clientMessage, afterMs } = await refusal(lease(evidence))
      words.add(`${code}: ${clientMessage}`)
      expect(afterMs).toBeGreaterThanOrEqual(world.limits.refusalMs)
    }
    expect([...words]).toEqual(['evidence-invalid: this browser is not signed in here'])
    expect(world.control.asked).toHaveLength(0)
  })

  it('ends with its time, its person, its sign-in, and the key that signed it', async () => {
    await grantAndConfirm()
    const cookie = await cookieOf({ expiresAtMs: world.clock.wallMs() + 60_000 })
    const session = await lease(cookie)
    world.clock.advance(60_000)
    expect((await refusal(lease(cookie))).code).toBe('evidence-expired')
    expect(session.signal.aborted).toBe(false)

    const other = await cookieOf()
    const held = await lease(other)
    const revoked = { kind: 'certificate-revoked', serial: signInId } as const
    await world.feed({ ...revoked, orderedAtMs: 1, expiresAtMs: world.clock.wallMs() + hourMs })
    expect((await refusal(lease(other))).code).toBe('evidence-invalid')
    expect(held.signal.reason).toMatchObject({ reason: 'certificate-revoked' })

    const fresh = await cookieOf({ signInId: tokenId })
    await lease(fresh)
    const next = createSigningKey()
    const keys = [{ kid: next.kid, publicKeyPem: next.publicKeyPem }]
    await world.feed({ kind: 'keys', keys })
    expect((await refusal(lease(fresh))).code).toBe('evidence-invalid')
  })

  it('says so where control says that they signed out', async () => {
    await grant()
    world.control.answer = () =>
      Promise.resolve({ kind: 'denied', why: 'browser-signed-out', position: 0 })
    const refused = await refusal(lease(await cookieOf()))
    expect(refused).toMatchObject({
      code: 'evidence-invalid',
      clientMessage: 'you were signed out',
    })
  })
})

describe('an API token', () => {
  it('is asked of control once per session, and is its person’s', async () => {
    await takeToken()
    const leases = await Promise.all(Array.from({ length: 50 }, () => lease(bearer())))
    expect(new Set(leases.map(({ labels }) => labels.sessionId)).size).toBe(1)
    expect(world.control.asked).toHaveLength(1)
    expect(world.control.asked[0]).toMatchObject({
      apiToken: { digest: expect.stringMatching(/^[0-9a-f]{64}$/) as string },
    })
    expect(JSON.stringify(world.control.asked)).not.toMatch('spa_')
    const opened = world.spool.events.find(({ type }) => type === 'session-opened')
    expect(opened!.meta).toMatchObject({ evidence: 'api-token', certificateSerial: tokenId })
  })

  it('that is revoked cuts its sessions and begins none; one that has ended begins none', async () => {
    await takeToken(60_000)
    const session = await lease(bearer())
    world.clock.advance(60_000)
    expect((await refusal(lease(bearer()))).code).toBe('evidence-expired')
    expect(session.signal.aborted).toBe(false)
    const revoked = { kind: 'certificate-revoked', serial: tokenId, orderedAtMs: 1 } as const
    await world.feed({ ...revoked, expiresAtMs: world.clock.wallMs() + hourMs })
    expect((await refusal(lease(bearer()))).code).toBe('evidence-invalid')
    expect(session.signal.reason).toMatchObject({
      reason: 'certificate-revoked',
      message: 'your API token was revoked',
    })
  })

  it('is refused in the same words, whatever is wrong with it', async () => {
    await takeToken()
    const words = new Set<string>()
    const say = async (evidence: Evidence): Promise<void> => {
      const { code, clientMessage } = await refusal(lease(evidence))
      words.add(`${code}: ${clientMessage}`)
    }
    for (const text of ['', 'spa_', `sp1_${'x'.repeat(32)}`, 'x'.repeat(10_000)]) {
      await say(bearer(text))
    }
    expect(world.control.asked).toHaveLength(0)
    const denials = ['token-unknown', 'token-late', 'token-revoked', 'token-elsewhere', 'error']
    for (const why of denials) {
      world.control.answer = () => Promise.resolve({ kind: 'denied', why, position: 0 })
      await say(bearer())
    }
    expect([...words]).toEqual(['token-refused: the API token was not accepted'])
    // That says nothing of a token.
    world.control.answer = () => Promise.resolve({ kind: 'unreachable', why: 'away' })
    expect((await refusal(lease(bearer()))).code).toBe('control-unreachable')
  })

  it('that is good and gives no access here is no guess; guesses are limited by address', async () => {
    world.control.answer = () => Promise.resolve({ kind: 'denied', why: 'no-grant', position: 0 })
    const codesOf = async (ask: (n: number) => Promise<unknown>): Promise<string[]> => {
      const refusals = await Promise.all(Array.from({ length: 40 }, (_, n) => refusal(ask(n))))
      return refusals.map(({ code }) => code)
    }
    for (let n = 0; n < 2; n++) {
      expect(
        new Set(await codesOf((n) => lease(bearer(`spa_${String(n).padStart(32, '0')}`)))),
      ).toEqual(new Set(['access-denied']))
    }
    world.control.answer = () =>
      Promise.resolve({ kind: 'denied', why: 'token-unknown', position: 0 })
    expect((await codesOf((n) => lease(bearer(`x${n}`))))[0]).toBe('token-refused')
    expect((await codesOf((n) => lease(bearer(`y${n}`)))).at(-1)).toBe('rate-limited')
    expect((await refusal(lease(bearer()))).code).toBe('rate-limited')
    const elsewhere = await refusal(lease(bearer(), { remoteAddress: '192.0.2.9' }))
    expect(elsewhere.code).toBe('token-refused')
  })

  it('does not open what control says is another’s', async () => {
    await takeToken()
    const strange = await world.grantToken({ resource: 'wiki', personId: otherPerson })
    const answer = await world.control.answer({} as never)
    world.control.answer = () => Promise.resolve({ ...answer, token: strange } as Confirmation)
    expect((await refusal(lease(bearer()))).code).toBe('access-denied')
  })
})

describe('a browser that has no session', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signer = createKeySigner(privateKey)
  const visit = { resource: 'WIKI.access.test', level: 'write', port: 8443 } as const
  const signIns = (consoleUrl = 'https://console.example.test') =>
    createBrowserSignIns({
      identity: { proxyId, realm: 'default', group: 'default', domain: 'access.test' },
      ...{ signer, consoleUrl, clock: world.clock, limits: world.limits, log: silentLog },
      isControlThere: () => isThere,
      api: () => world.control.api,
    })
  let isThere = true
  const code = new Secret('c'.repeat(43))

  it('is sent nowhere while control is away', async () => {
    isThere = false
    const begun = signIns()('192.0.2.7').begin(visit)
    await expect(begun).rejects.toMatchObject({ code: 'control-unreachable' })
    isThere = true
    await expect(signIns()('192.0.2.7').begin(visit)).resolves.toBeDefined()
  })

  it('is sent to the console with a visit that this proxy signs, and keeps what binds it', async () => {
    const browsers = signIns()('192.0.2.7')
    const { url, binding } = await browsers.begin(visit)
    const at = new URL(url)
    expect(at.origin + at.pathname).toBe('https://console.example.test/apps/open')
    const claims = await verifyToken('app-visit', at.searchParams.get('visit')!, (kid) => {
      if (kid !== signer.kid) throw new Error('another key')
      return publicKey
    })
    expect(claims).toMatchObject({ proxyId, resource: 'wiki', level: 'write', port: 8443 })
    expect(claims.challenge).toBe(challengeOf(binding.reveal()))
    expect(url).not.toMatch(binding.reveal())
    expect(browsers.signOutUrl).toBe('https://console.example.test/sign-out')
    const other = await browsers.begin(visit)
    expect(other.binding.reveal()).not.toBe(binding.reveal())
  })

  it('is sent at a bounded rate of one address', async () => {
    const made = signIns()
    const begin = (address: string) => made(address).begin(visit)
    const many = Array.from({ length: 200 }, () => begin('192.0.2.7'))
    const outcomes = await Promise.allSettled(many)
    const refused = outcomes.filter(({ status }) => status === 'rejected')
    expect(refused.length).toBeGreaterThan(50)
    expect(refused[0]).toMatchObject({ reason: { code: 'rate-limited' } })
    await begin('192.0.2.8')
    world.clock.advance(60_000)
    await begin('192.0.2.7')
  })

  it('comes back with a code that control trades', async () => {
    const calls: unknown[] = []
    world.control.api = {
      call: (...given: unknown[]) => {
        calls.push(given)
        return Promise.resolve({ session: 'signed', expiresAtMs: 7 } as never)
      },
    }
    const binding = new Secret('b'.repeat(43))
    const asked = { resource: 'wiki.access.test', code, binding, remoteAddress: '::ffff:192.0.2.7' }
    const { cookie, expiresAtMs } = await signIns()('192.0.2.7').finish(asked)
    expect([cookie.reveal(), expiresAtMs]).toEqual(['signed', 7])
    const body = { code: code.reveal(), binding: binding.reveal(), resource: 'wiki' }
    const expected = { body: { ...body, remoteAddress: '192.0.2.7' } }
    expect(calls).toEqual([['proxyHttpFinish', expected]])
  })

  it.each([
    ['evidence-invalid', 'evidence-invalid'],
    ['not-found', 'evidence-invalid'],
    ['request-invalid', 'evidence-invalid'],
    ['rate-limited', 'rate-limited'],
    ['control-unreachable', 'sign-in-unavailable'],
    ['internal', 'sign-in-unavailable'],
  ] as const)('is refused where control says %s', async (said, code_) => {
    world.control.api = {
      call: () => Promise.reject(new SallyportError(said, 'x', { clientMessage: `of ${said}` })),
    }
    const binding = new Secret('b'.repeat(43))
    const asked = { resource: 'wiki', code, binding, remoteAddress: '192.0.2.7' }
    const refused = await refusal(signIns()('192.0.2.7').finish(asked))
    expect(refused.code).toBe(code_)
    expect(refused.afterMs).toBeGreaterThanOrEqual(world.limits.refusalMs)
  })

  it('is not asked about what cannot be a code, and not for ever', async () => {
    let calls = 0
    world.control.api = {
      call: () => {
        calls += 1
        return Promise.reject(new SallyportError('evidence-invalid', 'x'))
      },
    }
    const browsers = signIns()('192.0.2.7')
    const remoteAddress = '192.0.2.7'
    const binding = new Secret('b'.repeat(43))
    const shown = { resource: 'wiki', code: new Secret('short'), binding, remoteAddress }
    expect((await refusal(browsers.finish(shown))).code).toBe('evidence-invalid')
    expect(calls).toBe(0)
    const finishMany = (): Promise<{ code: string }[]> =>
      Promise.all(Array.from({ length: 40 }, () => refusal(browsers.finish({ ...shown, code }))))
    await finishMany()
    await finishMany()
    expect((await finishMany()).map((each) => each.code)).toContain('rate-limited')
    // Shown in the wrong browser, a code is used up all the same.
    const before = calls
    const misplaced = { ...shown, code, binding: undefined }
    expect((await refusal(browsers.finish(misplaced))).code).toBe('evidence-invalid')
    expect(calls).toBe(before + 1)
    expect(calls).toBeLessThan(100)
  })
})
