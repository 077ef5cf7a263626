/** Attacks on signing a browser in and out: strange browsers, strange links, strange providers, strange tokens. */
import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:https'
import { importJWK, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { acceptBackChannelLogout } from '../../control/login/back-channel-logout.ts'
import type { IdentityProvider } from '../../control/login/identity-provider.ts'
import { ownPath } from '../../control/web/own-path.ts'
import { formOf, startAppsSite, type AppsSite } from './apps-fixture.ts'

const consoleCookie = '__Host-sallyport-console'
const hourMs = 3_600_000
const eventName = 'http://schemas.openid.net/event/backchannel-logout'

let apps: AppsSite
beforeAll(async () => {
  apps = await startAppsSite()
})
afterEach(() => {
  apps.site.clock.shiftMs = 0
})
afterAll(() => apps.close())

const home = (): string => new URL(apps.url).hostname
const secretOf = (tab: ReturnType<AppsSite['openTab']>) =>
  tab.cookies.get(home())?.get(consoleCookie)

test('asks the provider with PKCE, state and nonce, and comes back to a session', async () => {
  const tab = apps.openTab()
  const begun = await tab.get('/sign-in?next=%2Fsign-out')
  const asked = new URL(begun.location!).searchParams
  expect(asked.get('redirect_uri')).toBe(`${apps.url}/sign-in/callback`)
  expect(asked.get('code_challenge_method')).toBe('S256')
  expect(asked.get('nonce')).toMatch(/^.{20,}$/)
  expect(asked.get('scope')).not.toContain('offline_access')
  expect(String(begun.headers['set-cookie'])).toMatch(
    /^__Host-sallyport-sign-in-[0-9a-f]{8}=.*; Path=\/; Max-Age=600; Secure; HttpOnly; SameSite=Lax$/,
  )
  const done = await tab.signIn('dev@example.test', '/sign-out')
  expect(done.url).toBe(`${apps.url}/sign-out`)
  expect(secretOf(tab)).toMatch(/^[A-Za-z0-9_-]{43}$/)
  // Kept as a digest, and nowhere else.
  const rows = await apps.site.running.control.state.query('select * from console_sessions')
  expect(JSON.stringify(rows)).not.toContain(secretOf(tab))
})

test('a way back is good in the browser that began it, once', async () => {
  // The login of an attacker, brought into the browser of somebody else.
  const attacker = apps.openTab()
  const begun = await attacker.get('/sign-in')
  const state = new URL(begun.location!).searchParams.get('state')!
  const callback = `/sign-in/callback?code=abc&state=${state}`
  const victim = apps.openTab()
  const refused = await victim.get(callback)
  expect(refused.status).toBe(403)
  expect(secretOf(victim)).toBeUndefined()
  // One sign-in of its own helps the victim’s browser nothing with another’s state.
  await victim.get('/sign-in')
  expect((await victim.get(callback)).status).toBe(403)
  // A code that the provider does not know: the attempt is over all the same.
  expect((await attacker.get(callback)).status).toBeGreaterThanOrEqual(403)
  expect((await attacker.get(callback)).status).toBe(403)
  expect(secretOf(attacker)).toBeUndefined()
})

test('an answer of another provider, without a code, or twice over is refused', async () => {
  for (const more of ['&code=abc&iss=https://evil.example', '&error=access_denied', '']) {
    const tab = apps.openTab()
    const state = new URL((await tab.get('/sign-in')).location!).searchParams.get('state')!
    const answer = await tab.get(`/sign-in/callback?state=${state}${more}`)
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.html).not.toContain('sally login')
    expect(secretOf(tab)).toBeUndefined()
  }
  const none = await apps.openTab().get('/sign-in/callback?code=a&state=a&state=b')
  expect(none.status).toBe(400)
})

test('a session is never one that was there before', async () => {
  const tab = apps.openTab()
  const fixed = 'A'.repeat(43)
  tab.cookies.set(home(), new Map([[consoleCookie, fixed]]))
  expect((await tab.get('/')).html).not.toContain('Sign out')
  await tab.signIn('dev@example.test')
  expect(secretOf(tab)).not.toBe(fixed)
  const before = secretOf(tab)!
  await tab.post('/sign-out', formOf(await tab.open('/sign-out')))
  await tab.signIn('dev@example.test')
  expect(secretOf(tab)).not.toBe(before)
  const old = apps.openTab()
  old.cookies.set(home(), new Map([[consoleCookie, before]]))
  expect((await old.get('/')).html).not.toContain('Sign out')
})

test('a sign-in goes on to pages of ours alone', async () => {
  const elsewhere = [
    'https://evil.example/',
    '//evil.example/',
    '/\\evil.example/',
    '\\\\evil.example',
    '/\t/evil.example',
    '/\n/evil.example',
    'javascript:alert(1)',
    '/sign-in?next=%2F',
    '/v1/people',
    '/apps/../../evil',
    '@evil.example',
    '',
    '/apps/open/../../\\evil.example',
    `/${'a'.repeat(7_000)}`,
  ]
  for (const path of elsewhere) expect(ownPath(path), path).toBe('/')
  expect(ownPath('/apps/open?visit=a.b-c_d')).toBe('/apps/open?visit=a.b-c_d')
  expect(ownPath(undefined)).toBe('/')
  const tab = apps.openTab()
  const done = await tab.signIn('dev@example.test', '//evil.example/')
  expect(done.url).toBe(`${apps.url}/`)
  const again = await tab.get('/sign-in?next=https%3A%2F%2Fevil.example%2F')
  expect(again.location).toBe(`${apps.url}/`)
})

test('other sites may link here, and do nothing else', async () => {
  const tab = apps.openTab()
  const link = {
    'sec-fetch-site': 'cross-site',
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'document',
  }
  expect((await tab.get('/', link)).status).toBe(200)
  for (const dest of ['iframe', 'image', 'empty', 'script']) {
    const mode = dest === 'iframe' ? 'navigate' : 'no-cors'
    const headers = { ...link, 'sec-fetch-dest': dest, 'sec-fetch-mode': mode }
    expect((await tab.get('/', headers)).status).toBe(403)
    expect((await tab.get('/sign-in', headers)).status).toBe(403)
  }
  const { headers } = await tab.get('/')
  expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
})

test.each([
  ['/', 200],
  ['/sign-in', 303],
  ['/sign-in/callback', 400],
  [`/sign-in/callback?state=${'s'.repeat(43)}&code=c`, 403],
  ['/sign-out', 200],
  ['/apps/open', 400],
  ['/apps/open?visit=x', 401],
  ['/nowhere', 404],
])('the console’s %s (%i) keeps to itself', async (path, status) => {
  const { status: told, headers } = await apps.openTab().get(path, { accept: 'text/html' })
  expect(told).toBe(status)
  expect(headers).toMatchObject({
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'content-security-policy': expect.stringMatching(/^default-src 'none'; style-src/) as string,
  })
})

test('a session ends with its sign-in', async () => {
  const tab = apps.openTab()
  await tab.signIn('dev@example.test')
  expect((await tab.get('/')).html).toContain('Sign out')
  apps.site.clock.shiftMs = 8 * hourMs + 1_000
  expect((await tab.get('/')).html).not.toContain('Sign out')
})

test('somebody else in the same browser ends who was there', async () => {
  const tab = apps.openTab()
  await tab.signIn('dev@example.test')
  const before = secretOf(tab)!
  // Two tabs: the sign-in page of the second one was open before.
  tab.cookies.get(home())!.delete(consoleCookie)
  const begun = await tab.get('/sign-in')
  expect(begun.status).toBe(303)
  tab.cookies.delete('localhost')
  tab.cookies.get(home())!.set(consoleCookie, before)
  const form = await tab.open(begun.location!)
  const action = new URL(/<form[^>]*action="([^"]*)"/.exec(form.html)![1]!, form.url).href
  const account = { email: 'lead@example.test', password: 'password of lead' }
  let shown = await tab.post(action, account, {})
  while (shown.location !== undefined) shown = await tab.get(shown.location)
  expect(shown.html).toContain('lead@example.test')
  const old = apps.openTab()
  old.cookies.set(home(), new Map([[consoleCookie, before]]))
  expect((await old.get('/')).html).not.toContain('Sign out')
})

test('logout tokens: only the provider’s own, for us, new, once, and of that kind', async () => {
  const tab = apps.openTab()
  await tab.signIn('dev@example.test')
  const { state, clock } = apps.site.running.control
  const [login] = await state.query<{ sid: string; subject: string }>(
    `select l.sid, p.subject from logins l join people p on p.id = l.person_id
     where l.ended_at_ms is null and p.email = 'dev@example.test' order by l.begun_at_ms desc limit 1`,
  )
  const [key] = apps.provider.keys()
  const seconds = (): number => Math.floor(clock.wallMs() / 1_000)
  const good = (): Record<string, unknown> => ({
    ...{ iss: apps.provider.issuer, aud: 'sallyport', iat: seconds(), jti: randomUUID() },
    ...{ sid: login!.sid, events: { [eventName]: {} } },
  })
  const sign = async (claims: Record<string, unknown>, header: Record<string, unknown> = {}) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: key!.kid, typ: 'logout+jwt', ...header })
      .sign(await importJWK(key!, 'ES256'))
  const send = async (token: string) =>
    (await apps.openTab().post('/sign-in/back-channel-logout', { logout_token: token }, {})).status
  const unsigned = [{ alg: 'none' }, good()]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  const shared = await new SignJWT(good())
    .setProtectedHeader({ alg: 'HS256', kid: key!.kid, typ: 'logout+jwt' })
    .sign(Buffer.from('a-client-secret-of-the-tests'))
  const nobody = { ...good(), sid: undefined }
  const bad = [
    await sign({ ...good(), iss: 'https://evil.example' }),
    await sign({ ...good(), aud: 'another-client' }),
    await sign({ ...good(), nonce: 'abc' }),
    await sign({ ...good(), events: {} }),
    await sign({ ...good(), events: { [eventName]: 'yes' } }),
    await sign({ ...good(), iat: seconds() - 3_600 }),
    await sign({ ...good(), iat: seconds() + 3_600 }),
    await sign({ ...good(), jti: undefined }),
    await sign({ ...good(), exp: seconds() - 3_600 }),
    await sign(nobody),
    await sign(good(), { typ: 'at+jwt' }),
    await sign(good(), { kid: 'another' }),
    `${unsigned}.`,
    shared,
    'x',
    '',
  ]
  for (const token of bad) expect(await send(token), token).toBe(400)
  expect((await tab.get('/')).html).toContain('Sign out')
  // Of another session: nothing of ours ends.
  expect(await send(await sign({ ...good(), sid: 'another' }))).toBe(200)
  // Both named, and not of one person: neither.
  expect(await send(await sign({ ...good(), sub: 'account-of-somebody' }))).toBe(200)
  expect((await tab.get('/')).html).toContain('Sign out')
  const token = await sign(good())
  expect(await send(token)).toBe(200)
  expect(await send(token)).toBe(400)
  expect((await tab.get('/')).html).not.toContain('Sign out')
})

test('a logout token of a person ends all their sign-ins, those of sally too', async () => {
  const tab = apps.openTab()
  await tab.signIn('lead@example.test')
  const { state, clock } = apps.site.running.control
  const [person] = await state.query<{ id: string; subject: string }>(
    `select id, subject from people where email = 'lead@example.test'`,
  )
  const proxySignIn = await apps.proxy.api.call('proxySshSignIn', {
    body: { remoteAddress: '203.0.113.5' },
  })
  await apps.provider.signIn(proxySignIn.url, 'lead@example.test')
  const waited = await apps.proxy.api.call('proxySshSignInWait', {
    body: { signInId: proxySignIn.signInId, waitMs: 20_000 },
  })
  expect(waited.state).toBe('signed-in')
  const [key] = apps.provider.keys()
  const token = await new SignJWT({
    ...{ iss: apps.provider.issuer, aud: 'sallyport', jti: randomUUID(), sub: person!.subject },
    ...{ iat: Math.floor(clock.wallMs() / 1_000), events: { [eventName]: {} } },
  })
    .setProtectedHeader({ alg: 'ES256', kid: key!.kid, typ: 'logout+jwt' })
    .sign(await importJWK(key!, 'ES256'))
  const answer = await tab.post('/sign-in/back-channel-logout', { logout_token: token }, {})
  expect(answer.status).toBe(200)
  const live = await state.query(
    'select 1 from logins where person_id = $1 and ended_at_ms is null',
    [person!.id],
  )
  expect(live).toEqual([])
})

test('who floods the way back from the provider does not keep its logouts out, nor the other way round', async () => {
  const ways = {
    callback: () => ['GET', `/sign-in/callback?code=abc&state=${randomUUID()}`, ''] as const,
    logout: () => ['POST', '/sign-in/back-channel-logout', 'logout_token=x'] as const,
  }
  // Each from an address of its own, so that no other test pays for it.
  for (const [localAddress, flooded, other] of [
    ['127.0.0.2', 'callback', 'logout'],
    ['127.0.0.3', 'logout', 'callback'],
  ] as const) {
    const agent = new Agent({ keepAlive: true, maxSockets: 8, localAddress })
    const send = (way: keyof typeof ways): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const [method, path, body] = ways[way]()
        const headers = { 'content-type': 'application/x-www-form-urlencoded' }
        const ca = apps.site.running.control.keys.authorities.control.certificatePem
        const outgoing = request(new URL(path, apps.url), { method, agent, ca, headers })
        outgoing.on('response', (response) => {
          response.resume().on('end', () => resolve(response.statusCode))
        })
        outgoing.on('error', reject)
        outgoing.end(body)
      })
    let statuses: (number | undefined)[] = []
    for (let round = 0; round < 50 && !statuses.includes(429); round += 1) {
      statuses = await Promise.all(Array.from({ length: 40 }, () => send(flooded)))
    }
    expect(statuses, flooded).toContain(429)
    expect(await send(other), other).toBe(other === 'logout' ? 400 : 403)
    agent.destroy()
  }
})

/** As the provider would sign it. */
async function logoutTokenOf(claims: Record<string, unknown>): Promise<string> {
  const [key] = apps.provider.keys()
  const { clock } = apps.site.running.control
  return new SignJWT({
    ...{ iss: apps.provider.issuer, aud: 'sallyport', jti: randomUUID(), ...claims },
    ...{ iat: Math.floor(clock.wallMs() / 1_000), events: { [eventName]: {} } },
  })
    .setProtectedHeader({ alg: 'ES256', kid: key!.kid, typ: 'logout+jwt' })
    .sign(await importJWK(key!, 'ES256'))
}

async function newestLoginOf(email: string): Promise<{ id: string; sid: string; live: boolean }> {
  const [login] = await apps.site.running.control.state.query<{
    id: string
    sid: string
    live: boolean
  }>(
    `select l.id, l.sid, l.ended_at_ms is null as live from logins l
     join people p on p.realm = l.realm and p.id = l.person_id
     where p.email = $1 order by l.begun_at_ms desc, l.id limit 1`,
    [email],
  )
  return login!
}

test('the same person signed in anew ends what was there, where the provider would no longer tell of it together', async () => {
  const tab = apps.openTab()
  await tab.signIn('dev@example.test')
  const before = secretOf(tab)!
  const first = await newestLoginOf('dev@example.test')
  // A page that asked for the sign-in before; at the provider they signed out and in again meanwhile.
  tab.cookies.get(home())!.delete(consoleCookie)
  const begun = await tab.get('/sign-in')
  tab.cookies.delete('localhost')
  tab.cookies.get(home())!.set(consoleCookie, before)
  const form = await tab.open(begun.location!)
  const action = new URL(/<form[^>]*action="([^"]*)"/.exec(form.html)![1]!, form.url).href
  const account = { email: 'dev@example.test', password: 'password of dev' }
  let shown = await tab.post(action, account, {})
  while (shown.location !== undefined) shown = await tab.get(shown.location)
  expect(secretOf(tab)).not.toBe(before)
  expect((await newestLoginOf('dev@example.test')).sid).not.toBe(first.sid)
  const old = apps.openTab()
  old.cookies.set(home(), new Map([[consoleCookie, before]]))
  expect((await old.get('/')).html).not.toContain('Sign out')
})

test('a sign-in of a session that ended at the provider meanwhile is none', async () => {
  const tab = apps.openTab()
  await tab.signIn('oncall@example.test')
  const { sid } = await newestLoginOf('oncall@example.test')
  const token = await logoutTokenOf({ sid })
  // The provider has answered, and the login is not there yet, when it tells that the session is over.
  const answer = await tab.post('/sign-in/back-channel-logout', { logout_token: token }, {})
  expect(answer.status).toBe(200)
  tab.cookies.get(home())!.delete(consoleCookie)
  const late = await tab.open('/sign-in')
  expect(late.html).toContain('signed out at the identity provider meanwhile')
  expect(secretOf(tab)).toBeUndefined()
  expect(await newestLoginOf('oncall@example.test')).toMatchObject({ sid, live: false })
  // It is not for ever: whoever comes later was asked by the provider again.
  apps.site.clock.shiftMs = 61_000
  await tab.open('/sign-in')
  expect(secretOf(tab)).toMatch(/^[A-Za-z0-9_-]{43}$/)
})

test('a logout that failed on its way is taken when the provider sends it again', async () => {
  const tab = apps.openTab()
  await tab.signIn('newcomer@example.test')
  const { control } = apps.site.running
  const { sid } = await newestLoginOf('newcomer@example.test')
  const claims = {
    ...{ issuer: apps.provider.issuer, sid, subject: undefined, jti: randomUUID() },
    forgetAtMs: control.clock.wallMs() + hourMs,
  }
  const provider = { readLogoutToken: () => Promise.resolve(claims) } as unknown as IdentityProvider
  const tell = (state: typeof control.state) =>
    acceptBackChannelLogout(
      { control: { ...control, state }, provider, proxy: undefined },
      '203.0.113.7',
      'a token',
    )
  const broken = {
    query: control.state.query.bind(control.state),
    transaction: () => Promise.reject(new Error('the database is away')),
  } as unknown as typeof control.state
  await expect(tell(broken)).rejects.toThrow('the database is away')
  expect((await tab.get('/')).html).toContain('Sign out')
  await tell(control.state)
  expect((await tab.get('/')).html).not.toContain('Sign out')
  await expect(tell(control.state)).rejects.toMatchObject({ code: 'evidence-invalid' })
})
