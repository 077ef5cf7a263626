/** From an app to the console and back, with a real provider, over both stores. */
import { createHash } from 'node:crypto'
import { createKeyAndRequest } from '../../certs/request.ts'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { formOf, startAppsSite, type AppsSite } from './apps-fixture.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

const hourMs = 3_600_000
const sha256 = (text: string) => createHash('sha256').update(text).digest('base64')
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

describe.each(['embedded', 'postgres'] as const)('apps, over the %s store', (engine) => {
  let apps: AppsSite
  beforeAll(async () => {
    apps = await startAppsSite(engine === 'postgres' ? await server.createDatabase() : undefined)
  })
  afterEach(() => {
    apps.site.clock.shiftMs = 0
  })
  afterAll(() => apps.close())

  const grant = (person: string, level: 'read' | 'write', resource = 'wiki', forMs = hourMs) =>
    apps.site.admin.call('grantMake', {
      body: { person, resource, level, forMs, reason: 'a test' },
    })
  const signedInTab = async (email: string) => {
    const tab = apps.openTab()
    await tab.signIn(email)
    return tab
  }
  /** A session at the wiki, as a proxy gets it. */
  async function enter(email: string) {
    const tab = await signedInTab(email)
    await grant(email, 'write')
    const { token, binding } = await apps.visit({ level: 'write' })
    const { url } = await tab.open(apps.openPath(token))
    const { session } = await apps.finish(url, binding)
    return { tab, claims: await apps.claimsOf(session) }
  }
  const revokedSerials = () =>
    apps.feed
      .events()
      .flatMap((event) => (event.kind === 'certificate-revoked' ? event.serial : []))
  const cutOf = (serial: string) =>
    apps.feed.next('events', ({ events }) =>
      events.some((event) => event.kind === 'certificate-revoked' && event.serial === serial),
    )

  test('signs in on the way, asks with one click, and goes on to the app', async () => {
    const tab = apps.openTab()
    const { token, binding } = await apps.visit()
    const asked = await tab.signIn('dev@example.test', apps.openPath(token))
    expect(asked.status).toBe(403)
    expect(asked.html).toContain('No access to wiki now')
    expect(asked.html).toContain('at once, nobody is asked')
    const made = await tab.post('/apps/request', { ...formOf(asked), reason: 'ticket 7' })
    expect(made.status).toBe(303)
    const on = await tab.get(made.location!)
    expect(on.html).toMatch(/<meta http-equiv="refresh" content="0;url=\/apps\/open\?visit=/)
    const { url } = await tab.open(apps.openPath(token))
    const place = new URL(url)
    expect(`${place.origin}${place.pathname}`).toBe(
      'https://wiki.access.example.test:8443/.sallyport/finish',
    )
    expect(place.searchParams.get('visit')).toMatch(/^[0-9a-f]{8}$/)
    const { session, expiresAtMs } = await apps.finish(url, binding)
    const claims = await apps.claimsOf(session)
    expect(claims).toMatchObject({
      ...{ personEmail: 'dev@example.test', resource: 'wiki', level: 'read', group: 'default' },
      expiresAtMs,
    })
    const actions = await apps.site.admin.call('auditActions', { query: {} })
    expect(actions.items.find(({ action }) => action === 'app.signed-in')).toMatchObject({
      ...{ actorEmail: 'dev@example.test', target: claims.signInId, remoteAddress: '203.0.113.9' },
    })
  })

  test('waits while somebody decides, and then goes on by itself; or says who said no', async () => {
    const tab = await signedInTab('oncall@example.test')
    const lead = await apps.site.addSignedIn(`lead-${engine}@example.test`, ['engineer'], ['leads'])
    const { token, binding } = await apps.visit({ level: 'write' })
    const request = async (reason: string) => {
      const page = await tab.open(apps.openPath(token))
      const made = await tab.post('/apps/request', { ...formOf(page), reason })
      const waiting = await tab.get(made.location!)
      expect(waiting.html).toContain('Waiting for access to wiki')
      expect(waiting.html).toContain('one yes of the group <strong>leads</strong>')
      // Loaded again where there are no scripts; else by the one that the page's policy names.
      expect(waiting.html).toMatch(
        /<noscript>\s*<meta http-equiv="refresh" content="3;url=\/apps\/open[^>]*>\s*<\/noscript>/,
      )
      const scripts = [...waiting.html.matchAll(/<script>([^]*?)<\/script>/g)]
      const digests = scripts.map(([, script]) => sha256(script!))
      expect(waiting.headers['content-security-policy']).toContain(
        `default-src 'none'; script-src 'sha256-${digests.join()}'; connect-src 'self';`,
      )
      return /sally approve ([0-9a-f-]{36})/.exec(waiting.html)![1]!
    }
    const first = await request('<b>one</b>')
    await lead.api.call('requestDeny', { params: { id: first }, body: { comment: 'not <today>' } })
    const denied = await tab.get(apps.openPath(token))
    expect(denied.html).toContain('not &#60;today&#62;')
    const second = await request('two')
    await lead.api.call('requestApprove', { params: { id: second }, body: {} })
    const { url } = await tab.open(apps.openPath(token))
    await expect(apps.finish(url, binding)).resolves.toMatchObject({})
  })

  test('a higher level does, a lower one does not', async () => {
    const tab = await signedInTab('lead@example.test')
    await grant('lead@example.test', 'read', 'grafana')
    const wanted = await apps.visit({ resource: 'grafana', level: 'write' })
    const page = await tab.open(apps.openPath(wanted.token))
    expect(page.html).toContain('You have <strong>read</strong>')
    await grant('lead@example.test', 'write', 'grafana')
    const { token, binding } = await apps.visit({ resource: 'grafana', level: 'read' })
    const { url } = await tab.open(apps.openPath(token))
    const { session } = await apps.finish(url, binding, 'grafana')
    expect((await apps.claimsOf(session)).level).toBe('write')
  })

  test('a reason of blanks is asked for again, in a sentence', async () => {
    const tab = await signedInTab('dev@example.test')
    const { token } = await apps.visit({ level: 'write' })
    const page = await tab.open(apps.openPath(token))
    const again = await tab.post('/apps/request', { ...formOf(page), reason: '  ' })
    expect(again.status).toBe(400)
    expect(again.html).toMatch(/role="alert">Say why: the flow “[a-z-]+” wants a reason\.</)
  })

  test('who comes to nothing of theirs sees who they are; a page that is not there is a page', async () => {
    const tab = await signedInTab('dev@example.test')
    const { token } = await apps.visit({ resource: 'nowhere' })
    const none = await tab.open(apps.openPath(token))
    expect(none.status).toBe(404)
    expect(none.html).toMatch(
      /signed in as <strong>dev@example\.test<\/strong>[^]*href="\/sign-out"/,
    )
    const lost = await tab.get('/nowhere', { accept: 'text/html' })
    expect(lost.status).toBe(404)
    expect(lost.html).toMatch(/There is no such page[^]*To your apps/)
    // For programs it is a problem document, as everywhere in the API.
    const api = await tab.get('/v1/nowhere', { accept: 'application/json' })
    expect(api.status).toBe(404)
    expect(JSON.parse(api.html)).toMatchObject({ code: 'not-found' })
  })

  test('what no flow lets them ask for looks as what there is not', async () => {
    const tab = await signedInTab('newcomer@example.test')
    const pages: string[] = []
    for (const resource of ['secret-plans', 'nothing-there', 'a.b', 'orders<db>']) {
      const { token } = await apps.visit({ resource })
      const { status, html } = await tab.open(apps.openPath(token))
      expect(status).toBe(404)
      pages.push(html)
    }
    expect(new Set(pages).size).toBe(1)
  })

  test('a code is good once, at one app, in one browser, for one group, for a minute', async () => {
    const tab = await signedInTab('lead@example.test')
    await grant('lead@example.test', 'read')
    await apps.site.admin.call('groupCreate', {
      body: { name: `elsewhere-${engine}`, domain: `${engine}.example.test` },
    })
    const elsewhere = await apps.site.addProxy(`elsewhere-${engine}`)
    const go = async () => {
      const { token, binding } = await apps.visit()
      return { url: (await tab.open(apps.openPath(token))).url, binding }
    }
    const refused = expect.objectContaining({ code: 'evidence-invalid' }) as unknown
    const other = (await apps.visit()).binding
    const attempts = [
      (one: Awaited<ReturnType<typeof go>>) => apps.finish(one.url, other),
      (one: Awaited<ReturnType<typeof go>>) => apps.finish(one.url, one.binding, 'grafana'),
      (one: Awaited<ReturnType<typeof go>>) => apps.finish(one.url, one.binding, 'wiki', elsewhere),
    ]
    for (const attempt of attempts) {
      const one = await go()
      await expect(attempt(one)).rejects.toEqual(refused)
      // And shown wrongly it is used up.
      await expect(apps.finish(one.url, one.binding)).rejects.toEqual(refused)
    }
    const late = await go()
    apps.site.clock.shiftMs = 61_000
    await expect(apps.finish(late.url, late.binding)).rejects.toEqual(refused)
    apps.site.clock.shiftMs = 0
    const good = await go()
    const tries = await Promise.allSettled(
      Array.from({ length: 4 }, () => apps.finish(good.url, good.binding)),
    )
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test('only a proxy that counts sends a visit, and not for ever', async () => {
    const tab = await signedInTab('lead@example.test')
    await grant('lead@example.test', 'read')
    const status = async (token: string) => (await tab.get(apps.openPath(token))).status
    const { token } = await apps.visit()
    expect(await status(token)).toBe(303)
    const [head, body, signature] = token.split('.')
    expect(await status(`${head}.${body}.${signature!.split('').toReversed().join('')}`)).toBe(401)
    expect(await status('x')).toBe(401)
    expect(await status((await apps.visit({ realm: 'another' })).token)).toBe(401)
    expect(await status((await apps.visit({ group: 'another' })).token)).toBe(401)
    const gone = await apps.site.addProxy()
    expect(await status((await apps.visit({}, gone)).token)).toBe(303)
    // One proxy's key for another's name.
    const proxyId = apps.proxy.joined.proxyId
    expect(await status((await apps.visit({ proxyId }, gone)).token)).toBe(401)
    const byGone = await apps.visit({}, gone)
    await apps.site.admin.call('proxyRevoke', {
      params: { id: gone.joined.proxyId },
      body: { reason: 'lost' },
    })
    expect(await status(byGone.token)).toBe(401)
    const stranger = await createKeyAndRequest()
    const forged = await apps.visit({}, { ...apps.proxy, privateKeyPem: stranger.privateKeyPem })
    expect(await status(forged.token)).toBe(401)
    // A grant's token is no visit, whoever signed it.
    const { session } = await enterSession(tab)
    expect(await status(session)).toBe(401)
    // Who waited for an approval is let in where they wanted to go, hours later.
    await grant('lead@example.test', 'read', 'wiki', 10 * hourMs)
    apps.site.clock.shiftMs = 7 * hourMs
    const waited = await tab.get(apps.openPath(token))
    expect(waited.location).toContain('/.sallyport/finish?code=')
    const old = await apps.visit({ issuedAtMs: Date.now() + apps.site.clock.shiftMs - 9 * hourMs })
    const late = await tab.get(apps.openPath(old.token))
    expect(late.location).toBe('https://wiki.access.example.test:8443/')
    apps.site.clock.shiftMs = 25 * hourMs
    expect(await status(token)).toBe(401)
    apps.site.clock.shiftMs = -60_000
    expect(await status(token)).toBe(401)
  })
  async function enterSession(tab: Awaited<ReturnType<typeof signedInTab>>) {
    const { token, binding } = await apps.visit()
    return apps.finish((await tab.open(apps.openPath(token))).url, binding)
  }

  test('a form is taken from our own pages alone, for this session alone', async () => {
    const tab = await signedInTab('newcomer@example.test')
    const other = await signedInTab('oncall@example.test')
    const { token } = await apps.visit()
    const form = { ...formOf(await tab.open(apps.openPath(token))), reason: 'ticket 9' }
    const origin = apps.url
    const strange: Record<string, string>[] = [
      {},
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin, 'sec-fetch-site': 'cross-site' },
      { origin: 'https://wiki.access.example.test:8443', 'sec-fetch-site': 'same-site' },
    ]
    for (const headers of strange) {
      expect((await tab.post('/apps/request', form, headers)).status).toBe(403)
    }
    const wrong = { ...form, token: formOf(await other.open('/sign-out'))['token']! }
    expect((await tab.post('/apps/request', wrong)).status).toBe(403)
    expect((await tab.post('/apps/request', { ...form, level: 'root' })).status).toBe(400)
    const long = await tab.post('/apps/request', { ...form, forMs: String(20 * hourMs) })
    expect(long.status).toBe(400)
    expect(long.html).toContain('role="alert"')
    expect(long.html).toContain('value="ticket 9"')
    const listed = await apps.site.admin.call('requests', { query: { state: 'all' } })
    expect(listed.items.filter(({ personEmail }) => personEmail.startsWith('newcomer'))).toEqual([])
  })

  test('clicked many times at once, what is granted at once is granted once', async () => {
    const tab = await signedInTab('newcomer@example.test')
    const { token } = await apps.visit()
    const form = { ...formOf(await tab.open(apps.openPath(token))), reason: 'ticket 10' }
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => tab.post('/apps/request', form)),
    )
    for (const { status, location } of answers) {
      expect([status, location]).toEqual([303, `${apps.url}${apps.openPath(token)}&asked=1`])
    }
    const query = { person: 'newcomer@example.test' }
    const live = await apps.site.admin.call('grants', { query })
    expect(live.items).toHaveLength(1)
    const body = { reason: 'enough' }
    await apps.site.admin.call('grantRevoke', { params: { id: live.items[0]!.id }, body })
  })

  test('nobody opens apps without end: each time is on record for good', async () => {
    const tab = await signedInTab('lead@example.test')
    await grant('lead@example.test', 'read')
    const { token, binding } = await apps.visit()
    await apps.finish((await tab.open(apps.openPath(token))).url, binding)
    const { state } = apps.site.running.control
    await state.query(
      `insert into browser_sign_ins (realm, id, login_id, person_id, resource, grant_id, level,
         group_name, proxy_id, code_hash, challenge, made_at_ms, code_ends_at_ms, used_at_ms,
         expires_at_ms)
       select b.realm, gen_random_uuid(), b.login_id, b.person_id, b.resource, b.grant_id, b.level,
         b.group_name, b.proxy_id, decode(md5(n::text), 'hex'), b.challenge, b.made_at_ms,
         b.code_ends_at_ms, b.used_at_ms, b.expires_at_ms
       from (select b.* from browser_sign_ins b join people p on p.id = b.person_id
             where p.email = 'lead@example.test' and used_at_ms is not null limit 1) b,
         generate_series(1, 500) n`,
    )
    const next = apps.openPath((await apps.visit()).token)
    expect((await tab.get(next)).status).toBe(409)
    apps.site.clock.shiftMs = hourMs + 1_000
    await grant('lead@example.test', 'read')
    const late = apps.openPath(
      (await apps.visit({ issuedAtMs: Date.now() + hourMs + 1_000 })).token,
    )
    expect((await tab.get(late)).location).toContain('/.sallyport/finish?code=')
  })

  test('says why the last session ended', async () => {
    const { tab, claims } = await enter('dev@example.test')
    const live = await apps.site.admin.call('grants', { query: { person: 'dev@example.test' } })
    for (const { id } of live.items) {
      const body = { reason: 'incident <4> is over' }
      await apps.site.admin.call('grantRevoke', { params: { id }, body }).catch(() => undefined)
    }
    const { token } = await apps.visit()
    const page = await tab.open(apps.openPath(token))
    expect(page.html).toContain('incident &#60;4&#62; is over')
    expect(page.html).toMatch(/by\s+admin@example\.test/)
    expect(revokedSerials()).not.toContain(claims.signInId)
  })

  test('signing out ends every app at once, and nothing else', async () => {
    const { tab, claims } = await enter('dev@example.test')
    const another = await enter('dev@example.test')
    const page = await tab.open('/sign-out')
    expect(page.html).toContain('dev@example.test')
    expect((await tab.post('/sign-out', formOf(page), {})).status).toBe(403)
    const done = await tab.post('/sign-out', formOf(page))
    expect(done.html).toContain('You are signed out')
    expect(done.html).toContain(`${apps.provider.issuer}/session/end`)
    await cutOf(claims.signInId)
    expect(revokedSerials()).not.toContain(another.claims.signInId)
    expect((await tab.get('/')).html).toContain('Sign in')
    expect((await another.tab.get('/')).html).toContain('Sign out')
  })

  test('who is revoked is out of the console and of every app', async () => {
    const { tab, claims } = await enter('oncall@example.test')
    await apps.site.admin.call('personRevoke', {
      params: { id: claims.personId },
      body: { reason: 'left' },
    })
    await cutOf(claims.signInId)
    expect((await tab.get('/')).html).not.toContain('Sign out')
    await apps.site.admin.call('personRestore', {
      params: { id: claims.personId },
      body: { reason: 'back' },
    })
    expect((await tab.get('/')).html).not.toContain('Sign out')
  })

  test('the provider’s own sign-out ends apps and console', async () => {
    const { tab, claims } = await enter('dev@example.test')
    const other = await enter('dev@example.test')
    const end = await tab.open(`${apps.provider.issuer}/session/end`)
    await tab.post(
      /<form[^>]*action="([^"]*)"/.exec(end.html)![1]!,
      {
        ...formOf(end),
        logout: 'yes',
      },
      {},
    )
    await cutOf(claims.signInId)
    expect((await tab.get('/')).html).not.toContain('Sign out')
    // Of that session at the provider, and no other.
    expect((await other.tab.get('/')).html).toContain('Sign out')
    const list = await apps.site.admin.call('auditActions', { query: {} })
    expect(list.items.find(({ action }) => action === 'login.ended')).toMatchObject({
      actorEmail: 'identity provider',
    })
  })

  test('the home page shows what is open and what can be asked for, and hides the rest', async () => {
    const tab = await signedInTab('lead@example.test')
    await grant('lead@example.test', 'read', 'secret-plans')
    const { html, headers } = await tab.get('/')
    expect(html).toContain('Open secret-plans')
    expect(html).toContain('The &#60;wiki&#62; &#38; its pages')
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'self'; /)
    expect(html).not.toMatch(/<script|style="| on[a-z]+="/)
    const style = /href="(\/assets\/[^"]+)"/.exec(html)![1]!
    expect((await tab.get(style)).headers['content-type']).toContain('text/css')
    const stranger = await signedInTab('newcomer@example.test')
    expect((await stranger.get('/')).html).not.toContain('secret-plans')
  })
})
