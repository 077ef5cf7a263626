/** Cookies of browsers through a real proxy, which got them from a real control and a real provider: each is good for one person at one app. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { completeConfig } from '../../proxy/config.ts'
import { startProxy, type RunningProxy } from '../../proxy/start-proxy.ts'
import { silentLog } from '../fakes/proxy-world.ts'
import { startProviderSite, type ProviderSite } from '../fakes/provider-site.ts'
import { startWebApp, type Said, type WebApp } from '../fakes/web-app.ts'
import { httpDomain, startHttpStack, type HttpStack } from '../http-stack.ts'
import { openTab, type Shown, type Tab } from './apps-fixture.ts'

const sessionCookie = '__Host-sallyport'
const people = ['dev', 'lead'] as const
type Who = (typeof people)[number]
type App = 'wiki' | 'shop'

let provider: ProviderSite
let apps: Record<App, WebApp>
let stack: HttpStack
/** Both are signed in at both. */
const tabs = new Map<Who, Tab>()
/** Of another group, and so of another domain. */
let edge: RunningProxy | undefined

beforeAll(async () => {
  provider = await startProviderSite('demo')
  apps = { wiki: await startWebApp('wiki'), shop: await startWebApp('shop') }
  const { issuer, clientId, clientSecretFile, caFile } = provider.settings
  stack = await startHttpStack({
    apps: { wiki: { port: apps.wiki.port }, shop: { port: apps.shop.port } },
    controlFlags: [
      ...['--oidc-issuer', issuer, '--oidc-client-id', clientId],
      ...['--oidc-client-secret-file', clientSecretFile!, '--oidc-ca-file', caFile!],
    ],
  })
  const { controlUrl, adminHome } = stack.site
  const authorities = [
    readFileSync(stack.caFile, 'utf8'),
    readFileSync(adminHome.files.controlAuthority, 'utf8'),
    provider.authorityPem,
  ]
  for (const who of people) {
    const tab = openTab(authorities, new URL(controlUrl).origin, provider, 'test')
    await tab.signIn(`${who}@example.test`)
    tabs.set(who, tab)
    for (const app of ['wiki', 'shop'] as const) {
      await stack.grant({ email: `${who}@example.test` }, app)
      // Over control and back, with the code that is good in this browser.
      const shown = await tab.open(`${stack.origin(app)}/home?of=${who}`)
      expect([shown.status, shown.url]).toEqual([200, `${stack.origin(app)}/home?of=${who}`])
      expect(whoIn(shown)).toEqual([`${who}@example.test`, `https://${app}.${httpDomain}`])
    }
  }
})
afterAll(async () => {
  await edge?.stop(0)
  await stack?.stop()
  for (const app of Object.values(apps ?? {})) await app.close()
  await provider?.close()
})

/** Whom the app was told of, and that it is meant. */
function whoIn({ html }: Shown): [string, string] {
  const { headers } = JSON.parse(html) as Said
  const [, claims = ''] = headers['sallyport-assertion']![0]!.split('.')
  const { email, aud } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Claims
  expect(JSON.stringify(headers)).not.toContain(sessionCookie)
  return [email, aud]
}
interface Claims {
  readonly email: string
  readonly aud: string
}

function cookieOf(who: Who, app: App): string {
  const cookie = tabs.get(who)!.cookies.get(`${app}.${httpDomain}`)?.get(sessionCookie)
  expect(cookie, `${who} at ${app}`).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
  return cookie!
}

/** With this cookie and nothing else, as a script and as a person who opens a page. */
async function show(
  app: App,
  cookie: string,
  origin = stack.origin(app),
): Promise<{ script: Shown; page: Shown }> {
  const url = `${origin}/shown`
  const tab = (): Tab => {
    const stranger = openTab([readFileSync(stack.caFile, 'utf8')], url, provider, 'test')
    stranger.cookies.set(new URL(url).hostname, new Map([[sessionCookie, cookie]]))
    return stranger
  }
  const script = await tab().get(url, { accept: 'application/json' })
  return { script, page: await tab().get(url) }
}

async function expectRefused(app: App, cookie: string, origin?: string): Promise<void> {
  const before = apps[app].arrived.length
  const { script, page } = await show(app, cookie, origin)
  expect(script.status).toBe(401)
  expect(script.headers['content-type']).toBe('application/problem+json')
  // In the same words, whatever is wrong with it.
  expect(JSON.parse(script.html)).toMatchObject({
    code: 'evidence-invalid',
    detail: 'this browser is not signed in here',
  })
  expect(page.status).toBe(302)
  expect(page.location).toContain(`${stack.site.controlUrl}/apps/open?visit=`)
  expect(apps[app].arrived).toHaveLength(before)
}

test('a cookie is good at its own app, for its own person', async () => {
  for (const who of people) {
    for (const app of ['wiki', 'shop'] as const) {
      const { script } = await show(app, cookieOf(who, app))
      expect(whoIn(script)).toEqual([`${who}@example.test`, `https://${app}.${httpDomain}`])
    }
  }
})

test('one of another app is refused, though its person has a grant for this one as well', async () => {
  for (const who of people) {
    await expectRefused('shop', cookieOf(who, 'wiki'))
    await expectRefused('wiki', cookieOf(who, 'shop'))
  }
})

test('parts of two cookies make none, nor does what was changed by a letter', async () => {
  const mine = cookieOf('dev', 'wiki').split('.')
  const theirs = cookieOf('lead', 'wiki').split('.')
  const claims = JSON.parse(Buffer.from(mine[1]!, 'base64url').toString()) as object
  const changed = (more: object): string =>
    Buffer.from(JSON.stringify({ ...claims, ...more })).toString('base64url')
  const unsigned = Buffer.from('{"alg":"none","typ":"app-session"}').toString('base64url')
  for (const forged of [
    [mine[0], theirs[1], mine[2]],
    [mine[0], mine[1], theirs[2]],
    [mine[0], changed({ personEmail: 'lead@example.test' }), mine[2]],
    [mine[0], changed({ resource: 'shop' }), mine[2]],
    [unsigned, mine[1], ''],
  ]) {
    await expectRefused('wiki', forged.join('.'))
  }
})

test('two people behind one address are not taken for each other, and the end of one is not the other’s', async () => {
  const [mine, theirs] = [cookieOf('dev', 'wiki'), cookieOf('lead', 'wiki')]
  const seen = await Promise.all(
    [mine, theirs, mine, theirs, mine, theirs].map(async (cookie) => {
      const { script } = await show('wiki', cookie)
      return whoIn(script)[0]
    }),
  )
  const [dev, lead] = ['dev@example.test', 'lead@example.test']
  expect(seen).toEqual([dev, lead, dev, lead, dev, lead])
  const { items } = await stack.api.call('grants', { query: { person: dev, state: 'live' } })
  const grant = items.find(({ resource }) => resource === 'wiki')!
  await stack.api.call('grantRevoke', { params: { id: grant.id }, body: { reason: 'a test' } })
  await expect.poll(async () => (await show('wiki', mine)).script.status).toBe(403)
  expect(whoIn((await show('wiki', theirs)).script)[0]).toBe(lead)
  expect(whoIn((await show('shop', cookieOf('dev', 'shop'))).script)[0]).toBe(dev)
})

test('one of another group and domain is refused, though it is for the same app', async () => {
  const { api, directory } = stack
  const before = cookieOf('lead', 'wiki')
  const domain = 'edge.test'
  await api.call('groupCreate', { body: { name: 'edge', domain } })
  const { token } = await api.call('joinToken', { params: { name: 'edge' } })
  const [joinTokenFile, policyFile] = [join(directory, 'join'), join(directory, 'edge.yaml')]
  writeFileSync(joinTokenFile, token, { mode: 0o600 })
  const { port } = apps.wiki
  const rule = { reference: 'none:wiki', addresses: [`127.0.0.1:${port}`], tls: 'disable' }
  writeFileSync(policyFile, JSON.stringify({ secrets: [rule] }))
  edge = await startProxy({
    config: completeConfig({
      ...{ dataDir: join(directory, 'edge'), controlUrl: stack.site.controlUrl, joinTokenFile },
      ...{ policyFile, listen: { http: '127.0.0.1:0' } },
    }),
    log: silentLog,
  })
  await edge.ready()
  const moved = {
    ...{ name: 'wiki', protocol: 'http' as const, address: { host: '127.0.0.1', port } },
    ...{ group: 'edge', tls: { mode: 'disable' as const }, http: {} },
    levels: { read: { account: 'wiki', secret: 'none:wiki' } },
  }
  await api.call('resourcesApply', { body: { file: { resources: [moved] } } })
  await stack.grant({ email: 'lead@example.test' }, 'wiki')
  const origin = `https://wiki.${domain}:${edge.ports.http}`
  await expectRefused('wiki', before, origin)
  const tab = tabs.get('lead')!
  const url = `${origin}/moved`
  const shown = await tab.open(url)
  expect(shown.url).toBe(url)
  expect(whoIn(shown)).toEqual(['lead@example.test', `https://wiki.${domain}`])
  // Nor the other way round.
  const after = tab.cookies.get(`wiki.${domain}`)!.get(sessionCookie)!
  expect((await show('wiki', after, origin)).script.status).toBe(200)
  await expectRefused('wiki', after)
})
