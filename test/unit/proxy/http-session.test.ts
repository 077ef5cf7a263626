/** What a session of HTTP has of its own: a signed identity for the app, terms that may change under it, secrets that are traded. */
import { createPublicKey, verify } from 'node:crypto'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { assertionKeyId } from '../../../control/api/http.ts'
import { resource as resourceShape, type Resource } from '../../../control/api/resource.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { keepRegistered, loadAssertionKeys } from '../../../proxy/identity/assertion-keys.ts'
import { bindSecret } from '../../../proxy/policy/bind-secret.ts'
import { readPolicy } from '../../../proxy/policy/policy.ts'
import { isSameWay } from '../../../proxy/sessions/same-way.ts'
import { streamBytesMaxOf } from '../../../proxy/sessions/stream-bytes-max.ts'
import {
  anywhere,
  createProxyWorld,
  person,
  silentLog,
  turns,
  type ProxyWorld,
} from '../../fakes/proxy-world.ts'

let world: ProxyWorld
beforeEach(async () => {
  world = await createProxyWorld()
})
afterEach(() => world.close())

const decode = (part: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>

describe('the signed identity', () => {
  it('is what an independent library verifies with the published key, for this app alone', async () => {
    const { session } = await world.openSession()
    const { publicKey, kid } = world.assertionKeys
    const keys = createLocalJWKSet({ keys: [{ ...publicKey, kid, use: 'sig', alg: 'ES256' }] })
    const currentDate = new Date(world.clock.wallMs())
    const token = session.assertion()
    const audience = 'https://orders-db.access.test'
    const checks = { issuer: 'https://access.test', audience, currentDate, typ: 'JWT' }
    const { payload, protectedHeader } = await jwtVerify(token, keys, checks)
    const { sessionId, grantId, personEmail } = session.labels
    const iat = Math.floor(world.clock.wallMs() / 1_000)
    expect(payload).toEqual({
      ...{ iss: 'https://access.test', aud: audience, sub: person, email: personEmail },
      ...{ level: 'read', grant: grantId, session: sessionId, iat, exp: iat + 60 },
    })
    expect(protectedHeader).toEqual({ alg: 'ES256', typ: 'JWT', kid: assertionKeyId(publicKey) })
    // And by hand, as RFC 7515 has it.
    const [header, claims, signature] = token.split('.') as [string, string, string]
    const key = createPublicKey({ key: publicKey, format: 'jwk' })
    const isSigned = (text: string): boolean =>
      verify(
        'sha256',
        Buffer.from(text),
        { key, dsaEncoding: 'ieee-p1363' },
        Buffer.from(signature, 'base64url'),
      )
    expect(isSigned(`${header}.${claims}`)).toBe(true)
    const forged = Buffer.from(JSON.stringify({ ...decode(claims), level: 'admin' }))
    expect(isSigned(`${header}.${forged.toString('base64url')}`)).toBe(false)
    await expect(jwtVerify(token, keys, { ...checks, audience: 'https://x' })).rejects.toThrow()
  })

  it('is signed once in half a minute, and again when a clock was set', async () => {
    const { session } = await world.openSession()
    const first = session.assertion()
    world.clock.advance(29_999)
    expect(session.assertion()).toBe(first)
    world.clock.advance(1)
    const second = session.assertion()
    expect(second).not.toBe(first)
    world.clock.skewWall(-3_600_000)
    const third = session.assertion()
    expect(decode(third.split('.')[1]!)['iat']).toBe(Math.floor(world.clock.wallMs() / 1_000))
  })

  it('is not given of a session that was cut', async () => {
    const { session } = await world.openSession()
    await world.feed({ kind: 'person-revoked', personId: person, orderedAtMs: 1 })
    expect(() => session.assertion()).toThrow(/person-revoked/)
  })

  it('is signed by a private key that stays the same, and by nothing else', () => {
    const file = join(world.directory, 'assertion.key')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(loadAssertionKeys(world.directory).kid).toBe(world.assertionKeys.kid)
    expect(Object.keys(world.assertionKeys.publicKey).sort()).toEqual(['crv', 'kty', 'x', 'y'])
    writeFileSync(file, 'not a key')
    expect(() => loadAssertionKeys(world.directory)).toThrow(/no P-256 private key/)
  })

  it('has its key published at the start, each day, and as soon as control is back', async () => {
    const { clock, assertionKeys } = world
    let isUp = false
    const calls: unknown[] = []
    const stop = keepRegistered({
      publicKey: assertionKeys.publicKey,
      ...{ clock, log: silentLog },
      api: () => ({
        call: (...given: unknown[]) => {
          calls.push(given)
          const away = new SallyportError('control-unreachable', 'away')
          return isUp ? Promise.resolve({} as never) : Promise.reject(away)
        },
      }),
    })
    await turns()
    expect(calls).toEqual([['proxyAssertionKey', { body: assertionKeys.publicKey }]])
    isUp = true
    clock.advance(30_000)
    await turns()
    expect(calls).toHaveLength(2)
    clock.advance(86_399_999)
    await turns()
    expect(calls).toHaveLength(2)
    clock.advance(1)
    await turns()
    expect(calls).toHaveLength(3)
    stop()
    clock.advance(10 * 86_400_000)
    await turns()
    expect(calls).toHaveLength(3)
  })
})

const tokenUrl = 'https://login.example.test/token'
function app(http: object = {}, changes: object = {}): Resource {
  return resourceShape.parse({
    name: 'wiki',
    protocol: 'http',
    address: { host: 'wiki.internal', port: 443 },
    levels: { read: { account: 'reader', secret: 'sealed:wiki/read' } },
    http: { credential: { kind: 'bearer' }, ...http },
    ...changes,
  })
}

describe('a resource of HTTP that changed', () => {
  const deny = { path: '/admin/**', needs: 'deny' }
  const write = { path: '/search', needs: 'write' }
  const limits = { bodyBytesMax: 1_000, perMinuteMax: 100, requestsMax: 10 }
  const recording = { requestBodyBytes: 100, webSocketText: true }
  const before = { rules: [deny, write], limits, recording, redactedParameters: ['pin'] }

  it.each([
    ['nothing', {}],
    ['a rule that denied is gone', { rules: [write] }],
    ['a rule asks for less', { rules: [deny, { ...write, needs: 'read' }] }],
    ['limits are wider', { limits: { bodyBytesMax: 0, perMinuteMax: 200, requestsMax: 11 } }],
    ['less is recorded', { recording: {} }],
    ['less is redacted', { redactedParameters: [] }],
  ])('keeps its sessions where %s', (_, after) => {
    expect(isSameWay(app(before), app({ ...before, ...after }), 'read')).toBe(true)
  })

  it.each([
    ['a rule denies', { rules: [deny, write, { path: '/x', needs: 'deny' }] }],
    ['a rule asks for more', { rules: [deny, { ...write, needs: 'admin' }] }],
    ['rules change places', { rules: [write, deny] }],
    ['a rule that let in is gone', { rules: [deny] }],
    ['a rule is for other methods', { rules: [deny, { ...write, methods: ['GET'] }] }],
    ['bodies may be less', { limits: { ...limits, bodyBytesMax: 999 } }],
    ['requests are limited', { limits: { ...limits, perMinuteMax: 99 } }],
    ['more is recorded', { recording: { ...recording, responseBodyBytes: 1 } }],
    ['more is redacted', { redactedParameters: ['pin', 'token'] }],
    ['it is HTTP/2', { version: '2' }],
    ['its host is another', { host: 'client' }],
    ['its credential is shown otherwise', { credential: { kind: 'basic' } }],
  ])('ends its sessions where %s', (_, after) => {
    expect(isSameWay(app(before), app({ ...before, ...after }), 'read')).toBe(false)
  })
})

describe('how a secret is shown', () => {
  const policyOf = (more = '') => {
    const path = join(world.directory, 'policy.yaml')
    const rule = `reference: "sealed:wiki/*", addresses: ["wiki.internal:443"]${more}`
    writeFileSync(path, `secrets: [{ ${rule} }]`)
    return readPolicy(path)
  }
  const kinds = {
    bearer: { kind: 'bearer' },
    basic: { kind: 'basic' },
    header: { kind: 'header', name: 'X-Api-Key' },
    'another header': { kind: 'header', name: 'x-request-id' },
    'a certificate': { kind: 'client-certificate' },
    oauth: { kind: 'oauth', tokenUrl, scope: 'wiki.read' },
    'oauth elsewhere': { kind: 'oauth', tokenUrl: `${tokenUrl}2`, scope: 'wiki.read' },
    'oauth on another host': { kind: 'oauth', tokenUrl: 'https://evil.example.test/token' },
    'oauth for more': { kind: 'oauth', tokenUrl, scope: 'wiki.read wiki.admin' },
    'oauth for whatever there is': { kind: 'oauth', tokenUrl },
  }
  const shown = (credential: object): string => `, credential: ${JSON.stringify(credential)}`
  const notBound = expect.objectContaining({ code: 'secret-not-bound' }) as Error

  it.each(Object.entries(kinds))('is %s, where the rule says so to the letter', (ruled, one) => {
    const policy = policyOf(shown(one))
    for (const [kind, credential] of Object.entries(kinds)) {
      const bind = () => bindSecret(policy, app({ credential }), 'read')
      if (kind === ruled) expect(bind().reference).toBe('sealed:wiki/read')
      else expect(bind).toThrow(notBound)
    }
  })

  it('is never for control to choose', () => {
    for (const credential of Object.values(kinds)) {
      expect(() => bindSecret(policyOf(), app({ credential }), 'read')).toThrow(
        /has to say how it is shown/,
      )
    }
  })

  it('is for HTTP alone: no database is given what is for an app', () => {
    const database = resourceShape.parse({
      ...{ name: 'db', protocol: 'postgres', address: { host: 'wiki.internal', port: 443 } },
      levels: { read: { account: 'reader', secret: 'sealed:wiki/read' } },
    })
    expect(bindSecret(policyOf(), database, 'read').account).toBe('reader')
    expect(() => bindSecret(policyOf(shown(kinds.bearer)), database, 'read')).toThrow(
      /for HTTP alone/,
    )
  })

  it('is with the account that the rule names, or any where it names none', () => {
    const basic = app({ credential: kinds.basic })
    const bind = (accounts: string) =>
      bindSecret(policyOf(`${shown(kinds.basic)}${accounts}`), basic, 'read').account
    expect(bind('')).toBe('reader')
    expect(bind(', accounts: [writer, reader]')).toBe('reader')
    expect(() => bind(', accounts: [writer]')).toThrow(/not for account reader/)
  })

  it('is to be traded where the rule says', () => {
    const { oauth } = bindSecret(
      policyOf(shown(kinds.oauth)),
      app({ credential: kinds.oauth }),
      'read',
    )
    expect(oauth).toMatchObject({ tokenUrl, scope: 'wiki.read' })
  })

  it.each([
    [{ kind: 'oauth', tokenUrl: 'http://login.example.test/token' }, /https/],
    [{ kind: 'header', name: 'sallyport-assertion' }, /is set by the proxy/],
    [{ kind: 'header' }, /policy\.yaml:1:.*credential\.name/],
    [{ kind: 'cookie' }, /policy\.yaml:1:.*credential\.kind/],
  ])('is no %j', (credential, words) => {
    expect(() => policyOf(shown(credential))).toThrow(words)
  })
})

describe('a cut of a session with a pool', () => {
  const open = async () => {
    world.close()
    const secrets = [{ ...anywhere.secrets[0]!, reference: 'none:wiki', matches: /^none:/ }]
    world = await createProxyWorld({ policy: { secrets } })
    const resource = app(
      { credential: { kind: 'none' } },
      {
        ...{ name: 'orders-db', address: { host: '127.0.0.1', port: 5432 } },
        ...{ tls: { mode: 'disable' }, levels: { read: { account: 'wiki', secret: 'none:wiki' } } },
      },
    )
    await world.feed({ kind: 'resource', resource })
    await world.feed({ kind: 'grant', token: await world.confirmGrant() })
    const session = await world.admit({ protocol: 'http' })
    const sockets = [await session.connect(), await session.connect(), await session.connect()]
    session.opened(() => {})
    const order = { reason: 'cut-by-admin', orderedAtMs: world.clock.wallMs(), detail: '' } as const
    return { session, sockets, cut: () => world.registry.cut([session], order) }
  }

  it('takes all of its connections in that very call, for nobody sees what lies on top of them', async () => {
    const { session, sockets, cut } = await open()
    expect(session.isCut).toBe(false)
    expect(cut()).toBe(1)
    expect(session.isCut).toBe(true)
    // Nobody was told yet.
    expect(session.signal.aborted).toBe(false)
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, true, true])
    await session[Symbol.asyncDispose]()
  })

  it('takes connections with it that are on their way', async () => {
    const { session, cut } = await open()
    const late = session.connect()
    cut()
    expect(world.dialled).toHaveLength(4)
    expect(world.dialled.every(({ destroyed }) => destroyed)).toBe(true)
    await Promise.allSettled([late, session[Symbol.asyncDispose]()])
  })

  it('has no connection opened any more: a pool that dials again carries no cancel', async () => {
    const { session, cut } = await open()
    cut()
    await expect(session.connect()).rejects.toMatchObject({ code: 'access-denied' })
    await turns()
    await expect(session.connect()).rejects.toMatchObject({ code: 'access-denied' })
    expect(world.dialled).toHaveLength(3)
    await session[Symbol.asyncDispose]()
  })
})

describe('a resource without a secret', () => {
  const none = app(
    { credential: { kind: 'none' } },
    { levels: { read: { account: 'wiki', secret: 'none:wiki' } } },
  )

  it('is reached only where the policy says, as any other', () => {
    const path = join(world.directory, 'policy.yaml')
    writeFileSync(path, 'secrets: [{ reference: "none:wiki", addresses: ["wiki.internal:443"] }]')
    expect(bindSecret(readPolicy(path), none, 'read').reference).toBe('none:wiki')
    expect(() => bindSecret({ secrets: [] }, none, 'read')).toThrow(/no rule names/)
  })
})

describe('what may be recorded of a stream', () => {
  it('is what the bodies may be, and more of WebSockets', () => {
    expect(streamBytesMaxOf(app())).toBe(0)
    const recording = { requestBodyBytes: 1_000, responseBodyBytes: 2_000 }
    expect(streamBytesMaxOf(app({ recording }))).toBe(3_000)
    const webSocketText = true
    expect(streamBytesMaxOf(app({ recording: { webSocketText } }))).toBeGreaterThan(1_000_000)
  })
})
