/** A browser at control's console, with the real development provider, and a proxy that signs visits. */
import { createPrivateKey, randomBytes } from 'node:crypto'
import { request } from 'node:https'
import type { LookupFunction } from 'node:net'
import { createKeySigner } from '../../certs/key-signer.ts'
import { challengeOf } from '../../control/api/http.ts'
import { defaultRealm } from '../../control/api/names.ts'
import { signToken, verifyToken, type AppVisitClaims } from '../../control/api/tokens.ts'
import { signingKeyOf } from '../../control/keys/signing-key.ts'
import { startProviderSite, type ProviderSite } from '../fakes/provider-site.ts'
import { follow, type FeedClient } from './feed-client.ts'
import { flowNamed } from './requests-fixture.ts'
import { startTestControl, type RunningSite, type TestProxy } from './running-control.ts'

export interface Shown {
  readonly url: string
  readonly status: number
  readonly location: string | undefined
  readonly headers: Record<string, string | string[] | undefined>
  readonly html: string
}

/** One browser: keeps cookies per host, follows nothing by itself. */
export interface Tab {
  readonly cookies: Map<string, Map<string, string>>
  get(url: string, headers?: Record<string, string>): Promise<Shown>
  post(url: string, form: Record<string, string>, headers?: Record<string, string>): Promise<Shown>
  /** Follows redirects, until a page or an app's host. */
  open(url: string): Promise<Shown>
  /** From wherever it is asked to sign in, to where that leads. */
  signIn(email: string, next?: string): Promise<Shown>
}

export interface AppsSite {
  readonly provider: ProviderSite
  readonly site: RunningSite
  readonly proxy: TestProxy
  readonly feed: FeedClient
  readonly url: string
  openTab(): Tab
  visit(more?: Partial<AppVisitClaims>, by?: TestProxy): Promise<{ token: string; binding: string }>
  openPath(token: string): string
  finish(
    place: string,
    binding: string,
    resource?: string,
    by?: TestProxy,
  ): Promise<{ session: string; expiresAtMs: number }>
  claimsOf(session: string): ReturnType<typeof verifyToken<'app-session'>>
  close(): Promise<void>
}

export const httpResource = (name: string, more: Record<string, unknown> = {}) => ({
  name,
  protocol: 'http' as const,
  address: { host: '127.0.0.1', port: 8080 },
  levels: {
    read: { account: name, secret: `none:${name}` },
    write: { account: name, secret: `none:${name}` },
  },
  http: {},
  description: `The <${name}> & its pages`,
  ...more,
})

export async function startAppsSite(databaseUrl?: string): Promise<AppsSite> {
  const provider = await startProviderSite('demo', { linkByEmail: true })
  const site = await startTestControl({
    login: provider.settings,
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
  })
  const { url, control } = site.running
  const proxy = await site.addProxy()
  await site.admin.call('resourcesApply', {
    body: {
      file: {
        resources: [httpResource('wiki'), httpResource('grafana'), httpResource('secret-plans')],
      },
    },
  })
  await site.admin.call('flowsApply', {
    body: {
      flows: [
        flowNamed('wiki-read', ['read'], 0, { resources: { names: ['wiki'] } }),
        flowNamed('wiki-write', ['write'], 1, { resources: { names: ['wiki', 'grafana'] } }),
      ],
    },
  })
  const authorityPem = control.keys.authorities.control.certificatePem
  const feed = await follow({ url, authorityPem }, proxy)
  return {
    ...{ provider, site, proxy, feed, url },
    openTab: () => openTab([authorityPem, provider.authorityPem], url, provider),
    async visit(more = {}, by = proxy) {
      const binding = randomBytes(32).toString('base64url')
      const claims: AppVisitClaims = {
        ...{ realm: defaultRealm, proxyId: by.joined.proxyId, group: by.joined.group },
        ...{ resource: 'wiki', level: 'read', port: 8443, challenge: challengeOf(binding) },
        issuedAtMs: Math.floor(site.clock.wallMs()),
        ...more,
      }
      const signer = createKeySigner(createPrivateKey(by.privateKeyPem))
      return { binding, token: await signToken('app-visit', claims, signingKeyOf(signer)) }
    },
    openPath: (token) => `/apps/open?visit=${token}`,
    finish(place, binding, resource = 'wiki', by = proxy) {
      const code = new URL(place).searchParams.get('code') ?? ''
      const body = { code, binding, resource, remoteAddress: '203.0.113.9' }
      return by.api.call('proxyHttpFinish', { body })
    },
    claimsOf: (session) =>
      verifyToken('app-session', session, () => control.keys.signers.grants.publicKey),
    async close() {
      feed.close()
      await site.close()
      await provider.close()
    },
  }
}

/** `elsewhere`: names, besides our own, that lead to this machine and are followed to; each has a certificate of one of `ca`. */
export function openTab(
  ca: string[],
  origin: string,
  provider: ProviderSite,
  elsewhere?: string,
): Tab {
  const cookies: Tab['cookies'] = new Map()
  const isElsewhere = ({ hostname }: URL): boolean =>
    elsewhere !== undefined && hostname.endsWith(`.${elsewhere}`)
  const lookup: LookupFunction = (_name, { all }, done) =>
    all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)
  const once = (
    method: string,
    address: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<Shown> =>
    new Promise((resolve, reject) => {
      const url = new URL(address, origin)
      const jar = cookies.get(url.hostname) ?? new Map<string, string>()
      cookies.set(url.hostname, jar)
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
      const type = { 'content-type': 'application/x-www-form-urlencoded' }
      const outgoing = request(url, {
        ...{ method, ca, agent: false },
        ...(isElsewhere(url) ? { lookup } : {}),
        headers: {
          accept: 'text/html',
          ...(cookie === '' ? {} : { cookie }),
          ...(body === undefined ? {} : type),
          ...headers,
        },
      })
      outgoing.on('response', (response) => {
        for (const line of response.headers['set-cookie'] ?? []) {
          const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
          if (value === '') jar.delete(name!)
          else jar.set(name!, value!)
        }
        let html = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (html += chunk))
        response.on('end', () => {
          const { location } = response.headers
          resolve({
            ...{ url: url.href, status: response.statusCode ?? 0, html, headers: response.headers },
            location: location === undefined ? undefined : new URL(location, url).href,
          })
        })
      })
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  const isHere = (url: string): boolean =>
    /^https:\/\/(?:127\.0\.0\.1|localhost):/.test(url) || isElsewhere(new URL(url))
  const onward = async (first: Shown): Promise<Shown> => {
    let shown = first
    for (let hops = 0; shown.location !== undefined && hops < 20; hops += 1) {
      if (!isHere(shown.location)) return { ...shown, url: shown.location }
      shown = await once('GET', shown.location, {})
    }
    return shown
  }
  const tab: Tab = {
    cookies,
    get: (url, headers = {}) => once('GET', url, headers),
    post: (url, form, headers = { origin, 'sec-fetch-site': 'same-origin' }) =>
      once('POST', url, headers, new URLSearchParams(form).toString()),
    open: async (url) => onward(await once('GET', url, {})),
    async signIn(email, next = '/') {
      let shown = await tab.open(`/sign-in?next=${encodeURIComponent(next)}`)
      for (let steps = 0; shown.url.startsWith(provider.issuer) && steps < 5; steps += 1) {
        const password = `password of ${email.split('@')[0]}`
        const action = /<form[^>]*action="([^"]*)"/.exec(shown.html)?.[1]
        if (action === undefined) throw new Error(`no form at ${shown.url}: ${shown.html}`)
        const form = shown.html.includes('name="password"') ? { email, password } : {}
        const address = new URL(action, shown.url).href
        shown = await onward(await tab.post(address, form, {}))
      }
      return shown
    },
  }
  return tab
}

/** The hidden and chosen fields of the (only) form of a page. */
export function formOf({ html }: Shown): Record<string, string> {
  const fields: Record<string, string> = {}
  for (const [input] of html.matchAll(/<input[^>]*>/g)) {
    const name = /name="([^"]*)"/.exec(input)?.[1]
    if (name !== undefined) fields[name] = /value="([^"]*)"/.exec(input)?.[1] ?? ''
  }
  for (const [, name, options] of html.matchAll(
    /<select[^>]*name="([^"]*)"[^>]*>(.*?)<\/select>/gs,
  )) {
    fields[name!] = /value="([^"]*)"\s+selected/.exec(options!)?.[1] ?? ''
  }
  return fields
}
