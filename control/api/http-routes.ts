/** The routes of HTTP apps. Part of the table in routes.ts. The pages that browsers see are no routes. */
import * as http from './http.ts'
import type { Route } from './route.ts'

export const httpRoutes = {
  jwks: {
    method: 'GET',
    path: '/.well-known/jwks.json',
    summary: 'Public keys of the proxies, by which an app verifies who asks',
    access: 'anyone',
    query: http.jwksQuery,
    response: http.jwks,
  },
  proxyHttpFinish: {
    method: 'POST',
    path: '/v1/proxy/http/finish',
    summary: 'Trades the code that a browser came back with for its session at one app',
    access: 'proxy',
    body: http.appFinish,
    response: http.appFinished,
  },
  proxyAssertionKey: {
    method: 'POST',
    path: '/v1/proxy/http/assertion-key',
    summary: 'Has a proxy’s key for signed identities published',
    access: 'proxy',
    body: http.assertionKey,
    response: http.assertionKeyAdded,
  },
} as const satisfies Record<string, Route>
