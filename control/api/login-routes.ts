/** The routes of signing in and out. Part of the table in routes.ts. */
import { z } from 'zod'
import * as login from './login.ts'
import { listedLogin, loginsQuery } from './login-view.ts'
import type { Route } from './route.ts'
import * as shapes from './shapes.ts'

const everyone = ['engineer', 'admin', 'auditor'] as const
const byId = z.strictObject({ id: z.uuid() })

export const loginRoutes = {
  loginDevice: {
    method: 'POST',
    path: '/v1/login/device',
    summary: 'Begins a sign-in on a machine without a browser: a link and a code',
    access: 'anyone',
    body: login.deviceBegin,
    response: login.deviceBegun,
  },
  loginDevicePoll: {
    method: 'POST',
    path: '/v1/login/device/{id}',
    summary: 'Asks whether somebody has signed in at the link, and then hands out the certificate',
    access: 'anyone',
    params: byId,
    body: login.devicePoll,
    response: login.devicePolled,
  },
  loginCode: {
    method: 'POST',
    path: '/v1/login/code',
    summary: 'Begins a sign-in with a browser on the same machine (code with PKCE)',
    access: 'anyone',
    body: login.codeBegin,
    response: login.codeBegun,
  },
  loginCodeFinish: {
    method: 'POST',
    path: '/v1/login/code/{id}',
    summary: 'Trades what the browser brought back for the certificate; one try',
    access: 'anyone',
    params: byId,
    body: login.codeFinish,
    response: login.signedIn,
  },
  loginRefresh: {
    method: 'POST',
    path: '/v1/login/refresh',
    summary: 'A new certificate within the login’s end, after asking the identity provider again',
    access: everyone,
    body: login.loginRefresh,
    response: login.signedIn,
  },
  logout: {
    method: 'POST',
    path: '/v1/logout',
    summary: 'Ends the caller’s login, revokes its certificates and cuts their sessions',
    access: everyone,
    body: z.strictObject({}),
    response: login.loggedOut,
  },
  logins: {
    method: 'GET',
    path: '/v1/logins',
    summary:
      'Sign-ins, also those made at a terminal: all for admins and auditors, their own for engineers; newest first',
    access: everyone,
    query: loginsQuery,
    response: shapes.page(listedLogin),
  },
  loginEnd: {
    method: 'POST',
    path: '/v1/logins/{id}/end',
    summary:
      'Ends a sign-in of one’s own, or as admin anybody’s: revokes its certificates and cuts its sessions',
    access: everyone,
    params: byId,
    body: z.strictObject({ reason: shapes.reason }),
    response: shapes.done,
  },
} as const satisfies Record<string, Route>
