/** What control answers about asking: one flow each for read (at once) and write (one of leads), and requests kept here. */
import { randomUUID } from 'node:crypto'
import type { Level } from '../../control/api/names.ts'
import type { AccessRequest, Why } from '../../control/api/request.ts'
import type { Grant } from '../../control/api/shapes.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { FakeHandlers } from './api.ts'
import { dev, devId, makeGrant } from './shop.ts'

const hourMs = 3_600_000
const leads = { people: [], groups: ['leads'] }
export const ways: Why['ways'] = (['read', 'write'] as const).map((level) => ({
  level,
  flow: `${level}-flow`,
  approvalsNeeded: level === 'read' ? 0 : 1,
  approvers: level === 'read' ? { people: [], groups: [] } : leads,
  longestMs: 8 * hourMs,
  defaultMs: hourMs,
  reasonRequired: level === 'write',
}))

export interface Asking {
  readonly handlers: FakeHandlers
  readonly requests: Map<string, AccessRequest>
  readonly grants: Map<string, Grant>
  /** Decides a request as somebody elsewhere would. */
  decide(id: string, verdict: 'approve' | 'deny', comment: string): AccessRequest
}

export function startAsking(): Asking {
  const requests = new Map<string, AccessRequest>()
  const grants = new Map<string, Grant>()
  const find = <T>(all: ReadonlyMap<string, T>, id: string | undefined): T => {
    const found = all.get(id ?? '')
    if (found !== undefined) return found
    throw new SallyportError('not-found', 'no such thing', { clientMessage: 'no such thing' })
  }
  const keep = (request: AccessRequest): AccessRequest => {
    requests.set(request.id, request)
    return request
  }
  const makeRequest = (more: Partial<AccessRequest>): AccessRequest => ({
    id: randomUUID(),
    kind: 'access',
    personId: devId,
    personEmail: dev.email,
    resource: 'orders-db',
    level: 'read',
    forMs: hourMs,
    reason: '',
    state: 'pending',
    flow: 'write-flow',
    flowsVersion: 1,
    approvalsNeeded: 1,
    approvers: leads,
    decisions: [],
    madeAtMs: systemClock.wallMs(),
    answerByMs: systemClock.wallMs() + hourMs,
    decidedAtMs: null,
    grantId: null,
    mine: 'asked',
    ...more,
  })
  const grantFor = (request: AccessRequest): Grant => {
    const grant = makeGrant(randomUUID(), {
      level: request.level,
      expiresAtMs: systemClock.wallMs() + request.forMs,
    })
    grants.set(grant.id, grant)
    return grant
  }
  const decide: Asking['decide'] = (id, verdict, comment) => {
    const request = find(requests, id)
    const decision = {
      personId: randomUUID(),
      personEmail: 'lead@example.test',
      verdict,
      level: null,
      forMs: null,
      comment,
      atMs: systemClock.wallMs(),
      remoteAddress: '127.0.0.1',
    }
    const state = verdict === 'approve' ? 'approved' : 'denied'
    const grantId = verdict === 'approve' ? grantFor(request).id : null
    return keep({ ...request, state, grantId, decisions: [...request.decisions, decision] })
  }
  const handlers: FakeHandlers = {
    why: ({ params }) => {
      const live = [...grants.values()].filter(({ state }) => state === 'live')
      const pending = [...requests.values()].filter(({ state }) => state === 'pending')
      const resource = params['name'] ?? ''
      if (resource !== 'orders-db') {
        const clientMessage = 'there is no such resource, or it is not yours to see'
        throw new SallyportError('not-found', clientMessage, { clientMessage })
      }
      return { resource, grants: live, pending, ways }
    },
    requestMake: ({ body }) => {
      const { level, reason, forMs } = body as { level: Level; reason: string; forMs?: number }
      const same = [...requests.values()].some((one) => {
        return one.level === level && one.state === 'pending'
      })
      if (same) {
        const clientMessage = 'you asked for that already'
        throw new SallyportError('conflict', clientMessage, { clientMessage })
      }
      const request = makeRequest({ level, reason, ...(forMs === undefined ? {} : { forMs }) })
      if (level !== 'read') return { request: keep(request), grant: null }
      const grant = grantFor(request)
      return { request: keep({ ...request, state: 'approved', grantId: grant.id }), grant }
    },
    requests: ({ query }) => ({
      items: [...requests.values()].filter(({ state, mine }) => {
        const fits = query['mine'] === 'all' || query['mine'] === mine
        return fits && (query['state'] === 'all' || query['state'] === state)
      }),
      next: null,
    }),
    request: ({ params }) => find(requests, params['id']),
    requestApprove: ({ params, caller }) => {
      if (caller === dev.email) {
        const clientMessage = 'nobody approves their own request'
        throw new SallyportError('not-allowed', clientMessage, { clientMessage })
      }
      return decide(params['id'] ?? '', 'approve', '')
    },
    requestDeny: ({ params, body }) => {
      return decide(params['id'] ?? '', 'deny', (body as { comment: string }).comment)
    },
    requestWithdraw: ({ params }) => keep({ ...find(requests, params['id']), state: 'withdrawn' }),
    grants: ({ query }) => ({
      items: [...grants.values()].filter(({ state, resource }) => {
        const isThere = query['resource'] === undefined || query['resource'] === resource
        return isThere && (query['state'] === 'all' || query['state'] === state)
      }),
      next: null,
    }),
    grant: ({ params }) => find(grants, params['id']),
    grantGiveBack: ({ params }) => {
      const grant: Grant = { ...find(grants, params['id']), state: 'revoked' }
      grants.set(grant.id, grant)
      return grant
    },
    extensionMake: ({ params, body }) => {
      const grant = find(grants, params['id'])
      const { byMs } = body as { byMs: number }
      const longer = { ...grant, revision: 2, expiresAtMs: grant.expiresAtMs + byMs }
      const request = makeRequest({ kind: 'extension', level: grant.level, forMs: byMs })
      return {
        request: keep({ ...request, state: 'approved', grantId: grant.id }),
        grant: longer,
      }
    },
    flows: () => ({
      version: 2,
      author: 'admin@example.test',
      appliedAtMs: systemClock.wallMs(),
      flows: [
        {
          name: 'write-flow',
          who: { people: [], groups: ['engineers'] },
          resources: { tags: { environment: 'demo' } },
          levels: ['write'],
          duration: { longest: '2h' },
          approval: { kind: 'people', count: 1, from: leads },
          reasonRequired: true,
          unansweredAfter: '1h',
        },
      ],
    }),
    flowsApply: ({ body }) => {
      const { dryRun } = body as { dryRun: boolean }
      const changes = [{ action: 'add' as const, name: 'write-flow', details: [] }]
      return { version: 2, applied: !dryRun, changes }
    },
    flowsTest: ({ body }) => {
      const { resource } = body as { resource: string }
      return { resource, grants: [], pending: [], ways: resource === 'orders-db' ? ways : [] }
    },
  }
  return { handlers, requests, grants, decide }
}
