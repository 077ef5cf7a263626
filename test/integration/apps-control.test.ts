/** What control says to proxies of HTTP: whose API token it is, whether a browser is still signed in, and which keys apps may believe. */
import { createHash, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ToControl, ToProxy } from '../../control/api/feed.ts'
import { assertionKey, assertionKeyId, type AssertionKey } from '../../control/api/http.ts'
import type { TokenScope } from '../../control/api/names.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import { follow, type FeedClient, type FeedTarget } from './feed-client.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import {
  resourceNamed,
  startTestControl,
  type RunningSite,
  type TestPerson,
  type TestProxy,
} from './running-control.ts'

const hourMs = 3_600_000
const reason = { reason: 'a test' }
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

const newKey = (): AssertionKey =>
  assertionKey.parse(
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }),
  )
const codeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'none',
    (error: unknown) => (error as SallyportError).code,
  )

describe.each(['embedded', 'postgres'] as const)('apps over the %s store', (engine) => {
  let site: RunningSite
  let target: FeedTarget
  let dev: TestPerson
  let proxy: TestProxy
  let feed: FeedClient
  let grantId: string
  let requestId = 0

  beforeAll(async () => {
    site = await startTestControl(
      engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() },
    )
    const { url, control } = site.running
    target = { url, authorityPem: control.keys.authorities.control.certificatePem }
    dev = await site.addSignedIn('dev@example.test', ['engineer'])
    proxy = await site.addProxy()
    await site.admin.call('resourcesApply', {
      body: { file: { resources: [resourceNamed('wiki'), resourceNamed('blog')] } },
    })
    ;({ id: grantId } = await grantTo(dev, 'wiki'))
    feed = await follow(target, proxy)
  })
  afterAll(async () => {
    feed.close()
    await site.close()
  })

  const grantTo = (person: TestPerson, resource: string) =>
    site.admin.call('grantMake', {
      body: {
        ...{ person: person.person.email, resource, level: 'read', forMs: hourMs },
        ...reason,
      },
    })

  async function ask(
    evidence: Partial<Extract<ToControl, { kind: 'confirm' }>>,
    resource = 'wiki',
  ): Promise<Extract<ToProxy, { kind: 'confirmed' | 'denied' }>> {
    const asked = ++requestId
    const question = { kind: 'confirm', requestId: asked, sessionId: randomUUID() } as const
    feed.send({ ...question, resource, wanted: '', protocol: 'postgres', ...evidence })
    const fits = (message: { requestId: number }): boolean => message.requestId === asked
    return Promise.race([feed.next('confirmed', fits), feed.next('denied', fits)])
  }

  const shown = (token: string) => ({
    apiToken: {
      digest: createHash('sha256').update(token).digest('hex'),
      remoteAddress: '192.0.2.7',
    },
  })

  const make = (scope: TokenScope = 'apps', person = dev, forMs = hourMs) =>
    person.api.call('tokenMake', { body: { name: 'a test', scope, forMs } })

  const revoked = (serial: string) =>
    feed.next('events', ({ events }) =>
      events.some((event) => event.kind === 'certificate-revoked' && event.serial === serial),
    )

  describe('an API token of scope apps', () => {
    test('says whose it is, until when, and may be shown again; its use is kept to the hour', async () => {
      const made = await make()
      for (let n = 0; n < 2; n++) {
        expect(await ask(shown(made.token))).toMatchObject({
          kind: 'confirmed',
          redeemed: {
            ...{ tokenId: made.id, personId: dev.person.id, personEmail: 'dev@example.test' },
            ...{ issuedAtMs: made.madeAtMs, expiresAtMs: made.expiresAtMs },
          },
        })
      }
      const { items } = await dev.api.call('tokens')
      const { usedAtMs } = items.find(({ id }) => id === made.id)!
      expect(usedAtMs! % hourMs).toBe(0)
    })

    test('is nobody’s evidence but its own person’s, whatever else is asked with it', async () => {
      const made = await make()
      const other = await site.addSignedIn(`o-${randomUUID()}@example.test`, ['engineer'])
      const answer = await ask({
        ...shown(made.token),
        ...{ personId: other.person.id, certificateSerial: other.serial },
      })
      expect(answer).toMatchObject({ kind: 'confirmed', redeemed: { personId: dev.person.id } })
    })

    test('gives no access of its own', async () => {
      const made = await make()
      const denied = { kind: 'denied', why: 'no-grant' }
      expect(await ask(shown(made.token), 'blog')).toMatchObject(denied)
      const nowhere = { kind: 'denied', why: 'no-resource' }
      expect(await ask(shown(made.token), 'nowhere')).toMatchObject(nowhere)
    })

    test.each(['read', 'request'] as const)('is not one of scope %s', async (scope) => {
      const { token } = await make(scope)
      expect(await ask(shown(token))).toMatchObject({ kind: 'denied', why: 'token-elsewhere' })
    })

    test('is not what nobody made', async () => {
      const answer = await ask(shown('spa_'.padEnd(36, 'x')))
      expect(answer).toMatchObject({ kind: 'denied', why: 'token-unknown' })
    })

    test('ends at once for proxies when it is revoked, and when its time is over', async () => {
      const made = await make()
      await dev.api.call('tokenRevoke', { params: { id: made.id }, body: reason })
      await revoked(made.id)
      const denied = { kind: 'denied', why: 'token-revoked' }
      expect(await ask(shown(made.token))).toMatchObject(denied)
      const late = await follow(target, await site.addProxy(), 1)
      await late.next('resync', ({ more }) => !more)
      const events = late.events().filter((event) => event.kind === 'certificate-revoked')
      expect(events).toContainEqual(expect.objectContaining({ serial: made.id }))
      late.close()

      const short = await make('apps', dev, 60_000)
      site.clock.shiftMs += 61_000
      expect(await ask(shown(short.token))).toMatchObject({ kind: 'denied', why: 'token-late' })
    })

    test('that has ended may be revoked, for what it let in; one that let nothing in may not', async () => {
      const [used, unused] = [await make('apps', dev, 60_000), await make('apps', dev, 60_000)]
      expect((await ask(shown(used.token))).kind).toBe('confirmed')
      site.clock.shiftMs += 61_000
      const revoke = ({ id }: { id: string }) =>
        dev.api.call('tokenRevoke', { params: { id }, body: reason })
      expect((await revoke(used)).state).toBe('revoked')
      await revoked(used.id)
      expect(await codeOf(revoke(unused))).toBe('conflict')
    })

    test('ends with a certificate that was lost, and with its person', async () => {
      const gone = await site.addSignedIn(`g-${randomUUID()}@example.test`, ['engineer'])
      await grantTo(gone, 'wiki')
      const made = await make('apps', gone)
      expect((await ask(shown(made.token))).kind).toBe('confirmed')
      await site.admin.call('certificateRevoke', {
        params: { serial: gone.serial },
        body: reason,
      })
      await revoked(made.id)
      expect(await ask(shown(made.token))).toMatchObject({ kind: 'denied', why: 'token-revoked' })

      const back = await site.addSignedIn(`b-${randomUUID()}@example.test`, ['engineer'])
      await grantTo(back, 'wiki')
      const { token } = await make('apps', back)
      const person = { params: { id: back.person.id }, body: reason }
      await site.admin.call('personRevoke', person)
      expect((await ask(shown(token))).kind).toBe('denied')
      await site.admin.call('personRestore', person)
      expect((await ask(shown(token))).kind).toBe('denied')
    })
  })

  describe('a browser’s sign-in at an app', () => {
    async function signedIn(changes: Record<string, unknown> = {}): Promise<string> {
      const { state, realm } = site.running.control
      const nowMs = site.clock.wallMs()
      const [login] = await state.query<{ id: string }>(
        'select id from logins where realm = $1 and person_id = $2',
        [realm, dev.person.id],
      )
      const row = {
        ...{ realm, id: randomUUID(), login_id: login!.id, person_id: dev.person.id },
        ...{ resource: 'wiki', grant_id: grantId, level: 'read', group_name: 'default' },
        ...{ proxy_id: proxy.joined.proxyId, code_hash: randomBytes(32), challenge: 'x' },
        ...{ made_at_ms: nowMs, code_ends_at_ms: nowMs, used_at_ms: nowMs },
        ...{ expires_at_ms: nowMs + hourMs, ended_at_ms: null, ...changes },
      }
      const values = Object.values(row)
      await state.query(
        `insert into browser_sign_ins (${Object.keys(row).join(', ')})
         values (${values.map((_, index) => `$${index + 1}`).join(', ')})`,
        values,
      )
      return row.id
    }
    const by = (browserSignInId: string, more: object = {}) =>
      ask({ personId: dev.person.id, grantId, browserSignInId, ...more })
    const out = { kind: 'denied', why: 'browser-signed-out' }

    test('lets in for its own person, app and grant, while it lasts', async () => {
      expect((await by(await signedIn())).kind).toBe('confirmed')
      const other = await site.addSignedIn(`p-${randomUUID()}@example.test`, ['engineer'])
      expect(await by(await signedIn(), { personId: other.person.id })).toMatchObject(out)
      expect(await by(await signedIn({ resource: 'blog' }))).toMatchObject(out)
      const later = await grantTo(dev, 'wiki')
      expect(await by(await signedIn(), { grantId: later.id })).toMatchObject(out)
      expect(await by(randomUUID())).toMatchObject(out)
      // Nobody shows two things.
      expect((await by(await signedIn(), { certificateSerial: dev.serial })).kind).toBe('denied')
    })

    test('does not before its code was traded, after its end, or once it was ended', async () => {
      expect(await by(await signedIn({ used_at_ms: null }))).toMatchObject(out)
      const nowMs = site.clock.wallMs()
      expect(await by(await signedIn({ expires_at_ms: nowMs }))).toMatchObject(out)
      expect(await by(await signedIn({ ended_at_ms: nowMs }))).toMatchObject(out)
    })
  })

  describe('a key for signed identities', () => {
    const published = async (): Promise<string[]> => {
      const { body } = await site.ask({}, 'GET', '/.well-known/jwks.json')
      return (body['keys'] as { kid: string }[]).map(({ kid }) => kid)
    }

    test('is published for two days, and longer if it is added again', async () => {
      const key = newKey()
      const added = await proxy.api.call('proxyAssertionKey', { body: key })
      expect(added).toEqual({
        kid: assertionKeyId(key),
        expiresAtMs: expect.any(Number) as number,
      })
      const { body } = await site.ask({}, 'GET', '/.well-known/jwks.json')
      expect(body['keys']).toContainEqual({ ...key, kid: added.kid, use: 'sig', alg: 'ES256' })
      site.clock.shiftMs += 24 * hourMs
      await proxy.api.call('proxyAssertionKey', { body: key })
      site.clock.shiftMs += 47 * hourMs
      expect(await published()).toContain(added.kid)
      site.clock.shiftMs += hourMs
      expect(await published()).not.toContain(added.kid)
      site.clock.shiftMs -= 72 * hourMs
    })

    test('is one of three at most; the one that was added longest ago goes', async () => {
      const edge = await site.addProxy()
      const keys = Array.from({ length: 4 }, newKey)
      for (const key of keys) {
        site.clock.shiftMs += 10
        await edge.api.call('proxyAssertionKey', { body: key })
      }
      const kids = await published()
      expect(keys.map((key) => kids.includes(assertionKeyId(key)))).toEqual([
        ...[false, true, true, true],
      ])
      // Many at a time leave no more than that.
      await Promise.all(
        Array.from({ length: 8 }, () => edge.api.call('proxyAssertionKey', { body: newKey() })),
      )
      const { state } = site.running.control
      const rows = await state.query('select 1 from assertion_keys where proxy_id = $1', [
        edge.joined.proxyId,
      ])
      expect(rows).toHaveLength(3)
    })

    test('goes with its proxy', async () => {
      const edge = await site.addProxy()
      const key = newKey()
      await edge.api.call('proxyAssertionKey', { body: key })
      expect(await published()).toContain(assertionKeyId(key))
      await site.admin.call('proxyRevoke', { params: { id: edge.joined.proxyId }, body: reason })
      expect(await published()).not.toContain(assertionKeyId(key))
    })

    test('is told apart by domain: a proxy vouches for nobody at the apps of another group', async () => {
      const { state, realm } = site.running.control
      await state.query(
        `insert into proxy_groups (realm, name, domain, created_at_ms) values ($1, 'far', 'far.test', 0)`,
        [realm],
      )
      const far = await site.addProxy('far')
      const [near, other] = [newKey(), newKey()]
      await proxy.api.call('proxyAssertionKey', { body: near })
      await far.api.call('proxyAssertionKey', { body: other })
      const of = async (domain: string): Promise<boolean[]> => {
        const path = `/.well-known/jwks.json?domain=${domain}`
        const { body } = await site.ask({}, 'GET', path)
        const kids = (body['keys'] as { kid: string }[]).map(({ kid }) => kid)
        return [near, other].map((key) => kids.includes(assertionKeyId(key)))
      }
      expect(await of('FAR.test')).toEqual([false, true])
      expect(await of('nowhere.test')).toEqual([false, false])
      const [group] = await state.query<{ domain: string }>(
        `select domain from proxy_groups where realm = $1 and name = 'default'`,
        [realm],
      )
      expect(await of(group!.domain)).toEqual([true, false])
    })

    test('must be a point of the curve, and brings no private part', async () => {
      const off = { ...newKey(), y: newKey().y }
      expect(await codeOf(proxy.api.call('proxyAssertionKey', { body: off }))).toBe(
        'request-invalid',
      )
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const whole = privateKey.export({ format: 'jwk' }) as AssertionKey
      expect(await codeOf(proxy.api.call('proxyAssertionKey', { body: whole }))).toBe(
        'request-invalid',
      )
    })
  })
})
