/** The routes of access flows and of the requests that they decide. Part of the table in routes.ts. */
import { z } from 'zod'
import { resourceName } from './names.ts'
import * as requests from './request.ts'
import type { Route } from './route.ts'
import * as shapes from './shapes.ts'

const everyone = ['engineer', 'admin', 'auditor'] as const
/** An auditor reads and changes nothing, also where a flow would name them. */
const decidersAndAskers = ['engineer', 'admin'] as const
const byId = z.strictObject({ id: z.uuid() })
const byName = z.strictObject({ name: resourceName })

export const requestRoutes = {
  why: {
    method: 'GET',
    path: '/v1/resources/{name}/why',
    summary:
      'What the caller could do about a resource: their grants, their requests, the ways to ask',
    access: everyone,
    token: 'read',
    params: byName,
    response: requests.why,
  },
  flows: {
    method: 'GET',
    path: '/v1/flows',
    summary:
      'The access flows: all for admins and auditors; for engineers, those they may ask or decide by',
    access: everyone,
    token: 'read',
    response: requests.flowsView,
  },
  flowsApply: {
    method: 'POST',
    path: '/v1/flows/apply',
    summary: 'Plans or applies a flows file, which replaces all flows; every version is kept',
    access: ['admin'],
    body: requests.flowsApply,
    response: requests.flowsPlan,
  },
  flowsTest: {
    method: 'POST',
    path: '/v1/flows/test',
    summary: 'What would happen if a person asked for something; nothing is made',
    access: ['admin', 'auditor'],
    body: requests.flowsTest,
    response: requests.why,
  },
  requests: {
    method: 'GET',
    path: '/v1/requests',
    summary:
      'Requests: all for admins and auditors; else one’s own and those one may decide; newest first',
    access: everyone,
    token: 'read',
    query: requests.requestsQuery,
    response: shapes.page(requests.accessRequest),
  },
  request: {
    method: 'GET',
    path: '/v1/requests/{id}',
    summary: 'One request',
    access: everyone,
    token: 'read',
    params: byId,
    response: requests.accessRequest,
  },
  requestMake: {
    method: 'POST',
    path: '/v1/requests',
    summary: 'Asks for access; the access flow decides at once, or waits for approvals',
    access: decidersAndAskers,
    token: 'request',
    body: requests.requestMake,
    response: requests.requestMade,
  },
  requestApprove: {
    method: 'POST',
    path: '/v1/requests/{id}/approve',
    summary: 'Says yes to another person’s request, also for less time or a lower level',
    access: decidersAndAskers,
    signedIn: true,
    params: byId,
    body: requests.requestApprove,
    response: requests.accessRequest,
  },
  requestDeny: {
    method: 'POST',
    path: '/v1/requests/{id}/deny',
    summary: 'Says no to another person’s request; one no is enough',
    access: decidersAndAskers,
    signedIn: true,
    params: byId,
    body: requests.requestDeny,
    response: requests.accessRequest,
  },
  requestWithdraw: {
    method: 'POST',
    path: '/v1/requests/{id}/withdraw',
    summary: 'Takes one’s own request back',
    access: decidersAndAskers,
    token: 'request',
    params: byId,
    body: requests.requestWithdraw,
    response: requests.accessRequest,
  },
  extensionMake: {
    method: 'POST',
    path: '/v1/grants/{id}/extensions',
    summary: 'Asks for more time under one’s own live grant, through the access flow again',
    access: decidersAndAskers,
    token: 'request',
    params: byId,
    body: requests.extensionMake,
    response: requests.requestMade,
  },
  grantGiveBack: {
    method: 'POST',
    path: '/v1/grants/{id}/give-back',
    summary: 'Ends one’s own live grant now and cuts its sessions',
    access: everyone,
    params: byId,
    body: requests.grantGiveBack,
    response: shapes.grant,
  },
} as const satisfies Record<string, Route>
