/**
 * Every route once: method, path, who may call it, shapes. The server registers from this table, OpenAPI is
 * generated from it, and the typed client is derived from it.
 */
import { z } from 'zod'
import { loginRoutes } from './login-routes.ts'
import { recordingRoutes } from './recording-routes.ts'
import { requestRoutes } from './request-routes.ts'
import type { Route } from './route.ts'
import * as shapes from './shapes.ts'
import { httpRoutes } from './http-routes.ts'
import { sshRoutes } from './ssh-routes.ts'
import { tokenRoutes } from './token-routes.ts'

export type { Access, Route } from './route.ts'

const everyone = ['engineer', 'admin', 'auditor'] as const
const byId = z.strictObject({ id: z.uuid() })

export const routes = {
  health: {
    method: 'GET',
    path: '/healthz',
    summary: 'Whether the process runs',
    access: 'anyone',
    response: shapes.health,
  },
  readiness: {
    method: 'GET',
    path: '/readyz',
    summary: 'Whether it can decide: its store answers and its keys are loaded',
    access: 'anyone',
    response: shapes.health,
  },
  whoami: {
    method: 'GET',
    path: '/v1/whoami',
    summary: 'Who control takes you for',
    access: everyone,
    token: 'read',
    response: shapes.whoami,
  },
  people: {
    method: 'GET',
    path: '/v1/people',
    summary: 'People',
    access: ['admin', 'auditor'],
    query: shapes.pageQuery,
    response: shapes.page(shapes.person),
  },
  personCreate: {
    method: 'POST',
    path: '/v1/people',
    summary: 'Adds a person',
    access: ['admin'],
    body: shapes.personCreate,
    response: shapes.person,
  },
  personRevoke: {
    method: 'POST',
    path: '/v1/people/{id}/revoke',
    summary: 'Ends every session and certificate of a person',
    access: ['admin'],
    params: byId,
    body: z.strictObject({ reason: shapes.reason }),
    response: shapes.person,
  },
  personRestore: {
    method: 'POST',
    path: '/v1/people/{id}/restore',
    summary: 'Lets a revoked person in again; earlier certificates stay revoked',
    access: ['admin'],
    params: byId,
    body: z.strictObject({ reason: shapes.reason }),
    response: shapes.person,
  },
  certificateIssue: {
    method: 'POST',
    path: '/v1/people/{id}/certificates',
    summary: 'Issues a client certificate for a request that proves possession of its key',
    access: ['admin'],
    params: byId,
    body: shapes.certificateIssue,
    response: shapes.certificate,
  },
  certificateRevoke: {
    method: 'POST',
    path: '/v1/certificates/{serial}/revoke',
    summary: 'Revokes one certificate and cuts its sessions',
    access: ['admin'],
    params: z.strictObject({ serial: z.string().regex(/^[0-9a-f]{1,64}$/) }),
    body: z.strictObject({ reason: shapes.reason }),
    response: shapes.done,
  },
  resources: {
    method: 'GET',
    path: '/v1/resources',
    summary:
      'Resources the caller may see: all for admins and auditors; for engineers, those they reach or could ask for',
    access: everyone,
    token: 'read',
    query: shapes.pageQuery,
    response: shapes.page(shapes.resourceView),
  },
  resourcesApply: {
    method: 'POST',
    path: '/v1/resources/apply',
    summary: 'Plans or applies a resources file',
    access: ['admin'],
    body: shapes.resourcesApply,
    response: shapes.resourcesPlan,
  },
  grants: {
    method: 'GET',
    path: '/v1/grants',
    summary: 'Grants: all for admins and auditors, their own for engineers; newest first',
    access: everyone,
    token: 'read',
    query: shapes.grantsQuery,
    response: shapes.page(shapes.grant),
  },
  grant: {
    method: 'GET',
    path: '/v1/grants/{id}',
    summary: 'One grant',
    access: everyone,
    token: 'read',
    params: byId,
    response: shapes.grant,
  },
  grantMake: {
    method: 'POST',
    path: '/v1/grants',
    summary: 'Makes a grant; it starts now',
    access: ['admin'],
    body: shapes.grantMake,
    response: shapes.grant,
  },
  grantExtend: {
    method: 'POST',
    path: '/v1/grants/{id}/extend',
    summary: 'Moves the end of a live grant; live sessions go on',
    access: ['admin'],
    params: byId,
    body: shapes.grantExtend,
    response: shapes.grant,
  },
  grantRevoke: {
    method: 'POST',
    path: '/v1/grants/{id}/revoke',
    summary: 'Ends a grant now and cuts its sessions',
    access: ['admin'],
    params: byId,
    body: z.strictObject({ reason: shapes.reason }),
    response: shapes.grant,
  },
  sessions: {
    method: 'GET',
    path: '/v1/sessions',
    summary: 'Sessions: all for admins and auditors, their own for engineers; newest first',
    access: everyone,
    token: 'read',
    query: shapes.sessionsQuery,
    response: shapes.page(shapes.session),
  },
  session: {
    method: 'GET',
    path: '/v1/sessions/{id}',
    summary: 'One session',
    access: everyone,
    token: 'read',
    params: byId,
    response: shapes.session,
  },
  sessionWatch: {
    method: 'GET',
    path: '/v1/sessions/{id}/activities',
    summary:
      'Follows a session from its first statement on: ask again with `next`; each watch is audited, once',
    access: ['auditor'],
    params: byId,
    query: shapes.watchQuery,
    response: shapes.watchPage,
  },
  sessionCut: {
    method: 'POST',
    path: '/v1/sessions/{id}/cut',
    summary: 'Cuts a live session',
    access: ['admin'],
    params: byId,
    body: z.strictObject({ reason: shapes.reason }),
    response: shapes.done,
  },
  auditSearch: {
    method: 'GET',
    path: '/v1/audit/activities',
    summary: 'Finds statements and other activities; audited itself',
    access: ['auditor'],
    query: shapes.auditQuery,
    response: shapes.auditPage,
  },
  auditActions: {
    method: 'GET',
    path: '/v1/audit/actions',
    summary:
      'Decisions, admin actions and readings of the audit: control’s own chain, newest first',
    access: ['admin', 'auditor'],
    query: shapes.pageQuery,
    response: shapes.page(shapes.controlAction),
  },
  auditSegments: {
    method: 'GET',
    path: '/v1/audit/segments',
    summary:
      'The stored chains, oldest first, for offline verification; with payloads for auditors only',
    access: ['admin', 'auditor'],
    query: shapes.segmentsQuery,
    response: shapes.page(shapes.segment),
  },
  auditKeys: {
    method: 'GET',
    path: '/v1/audit/keys',
    summary: 'Public keys that verify checkpoints and countersignatures',
    access: ['admin', 'auditor'],
    response: shapes.auditKeys,
  },
  auditStatus: {
    method: 'GET',
    path: '/v1/audit/status',
    summary: 'Per proxy: what was received, what is indexed, what is quarantined',
    access: ['admin', 'auditor'],
    response: shapes.auditStatus,
  },
  groups: {
    method: 'GET',
    path: '/v1/proxy-groups',
    summary: 'Proxy groups and their proxies',
    access: ['admin', 'auditor'],
    response: z.strictObject({ items: z.array(shapes.proxyGroup) }),
  },
  groupCreate: {
    method: 'POST',
    path: '/v1/proxy-groups',
    summary: 'Adds a proxy group with its domain',
    access: ['admin'],
    body: shapes.proxyGroupCreate,
    response: shapes.proxyGroup,
  },
  groupChange: {
    method: 'PUT',
    path: '/v1/proxy-groups/{name}',
    summary:
      'Says from where servers see a group’s proxies come: what SSH certificates are good from',
    access: ['admin'],
    params: z.strictObject({ name: shapes.groupName }),
    body: shapes.proxyGroupChange,
    response: shapes.proxyGroup,
  },
  joinToken: {
    method: 'POST',
    path: '/v1/proxy-groups/{name}/join-tokens',
    summary: 'Makes a join token: one use, fifteen minutes',
    access: ['admin'],
    params: z.strictObject({ name: shapes.groupName }),
    response: shapes.joinToken,
  },
  proxyRevoke: {
    method: 'POST',
    path: '/v1/proxies/{id}/revoke',
    summary: 'Shuts a proxy out for good, with all its certificates; its feed is closed',
    access: ['admin'],
    params: byId,
    body: z.strictObject({ reason: shapes.reason }),
    response: shapes.done,
  },
  proxyJoin: {
    method: 'POST',
    path: '/v1/proxy/join',
    summary: 'Trades a join token and a certificate request for a proxy’s certificates',
    access: 'anyone',
    body: shapes.proxyJoin,
    response: shapes.proxyJoined,
  },
  proxyRenew: {
    method: 'POST',
    path: '/v1/proxy/renew',
    summary: 'New certificates before the old ones end',
    access: 'proxy',
    body: shapes.proxyRenew,
    response: shapes.proxyJoined,
  },
  proxySegments: {
    method: 'POST',
    path: '/v1/proxy/audit/segments',
    summary:
      'Stores verbatim batches (concatenated) of one epoch durably; header Sallyport-Checkpoint carries the signed head',
    access: 'proxy',
    binaryBody: { contentType: 'application/vnd.sallyport.audit', bytesMax: 65 * 1024 * 1024 },
    response: shapes.segmentsStored,
  },
  proxyBlob: {
    method: 'PUT',
    path: '/v1/proxy/audit/blobs/{sha256}',
    summary:
      'Stores one part of a long text, before the batch that names it; the hash of the whole is checked at the last part',
    access: 'proxy',
    params: z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
    query: shapes.blobQuery,
    binaryBody: { contentType: 'application/octet-stream', bytesMax: 9 * 1024 * 1024 },
    response: shapes.done,
  },
  proxyQuarantine: {
    method: 'POST',
    path: '/v1/proxy/audit/quarantine',
    summary: 'Hands over bytes of a spool that do not verify, so that nothing is lost silently',
    access: 'proxy',
    query: z.strictObject({ why: z.string().max(1_000) }),
    binaryBody: { contentType: 'application/octet-stream', bytesMax: 65 * 1024 * 1024 },
    response: shapes.done,
  },
  ...loginRoutes,
  ...recordingRoutes,
  ...requestRoutes,
  ...tokenRoutes,
  ...sshRoutes,
  ...httpRoutes,
} as const satisfies Record<string, Route>

export type RouteName = keyof typeof routes
/** Path of the WebSocket (feed.ts); an upgrade, so not in the table. */
export const feedPath = '/v1/proxy/feed'
export const checkpointHeader = 'sallyport-checkpoint'

type Shape<R, K extends string> = R extends { [key in K]: infer T extends z.ZodType }
  ? z.input<T>
  : never
/** What a call of a route takes. Absent parts are `never`. */
export interface Call<N extends RouteName> {
  params?: Shape<(typeof routes)[N], 'params'>
  query?: Shape<(typeof routes)[N], 'query'>
  body?: Shape<(typeof routes)[N], 'body'>
  binaryBody?: Buffer
  headers?: Record<string, string>
}
export type Answer<N extends RouteName> = z.output<(typeof routes)[N]['response']>
