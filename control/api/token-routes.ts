/** The routes of tokens, none of which a token opens. Part of the table in routes.ts. */
import { z } from 'zod'
import type { Route } from './route.ts'
import * as shapes from './shapes.ts'
import * as tokens from './token-shapes.ts'

const everyone = ['engineer', 'admin', 'auditor'] as const

export const tokenRoutes = {
  tokens: {
    method: 'GET',
    path: '/v1/tokens',
    summary: 'Tokens: all for admins and auditors, their own for engineers; newest first',
    access: everyone,
    query: tokens.tokensQuery,
    response: shapes.page(tokens.tokenView),
  },
  tokenMake: {
    method: 'POST',
    path: '/v1/tokens',
    summary: 'Makes an API token of the caller; it is shown once',
    access: everyone,
    body: tokens.tokenMake,
    response: tokens.tokenMade,
  },
  tokenRevoke: {
    method: 'POST',
    path: '/v1/tokens/{id}/revoke',
    summary:
      'Ends a token of one’s own, or as admin anybody’s, and cuts the session that it let in',
    access: everyone,
    params: z.strictObject({ id: z.uuid() }),
    body: z.strictObject({ reason: shapes.reason }),
    response: tokens.tokenView,
  },
  connectTokenMake: {
    method: 'POST',
    path: '/v1/connect-tokens',
    summary:
      'Makes the password of one connection of the caller to one resource: one use, five minutes',
    access: everyone,
    body: tokens.connectTokenMake,
    response: tokens.connectTokenMade,
  },
} as const satisfies Record<string, Route>
