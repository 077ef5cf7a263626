/** What a small installation answers: one resource, two people, a grant, sessions and statements. */
import { newOutcome } from '../../protocols/activity.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type {
  ActivityView,
  Grant,
  Person,
  ResourceView,
  SessionView,
} from '../../control/api/shapes.ts'
import { auditKeys, smallBundle } from '../unit/audit-bundle.ts'
import type { FakeHandlers } from './api.ts'

const nowMs = systemClock.wallMs()
const hourMs = 3_600_000
export const devId = '0190a000-0000-7000-8000-000000000001'
export const proxyId = '11111111-1111-4111-8111-111111111111'

export const dev: Person = {
  id: devId,
  email: 'dev@example.test',
  name: 'Dev Eloper',
  roles: ['engineer'],
  groups: [],
  state: 'active',
  createdAtMs: nowMs - hourMs,
}
export const ordersDb: ResourceView = {
  name: 'orders-db',
  protocol: 'postgres',
  hostname: 'orders-db.access.localhost',
  levels: ['read', 'write'],
  reach: ['read', 'write'],
  ask: ['read', 'write'],
  group: 'default',
  tags: { database: 'shop', tier: 'gold' },
  description: 'the shop',
  updatedAtMs: nowMs,
}
export function makeGrant(id: string, more: Partial<Grant> = {}): Grant {
  return {
    id,
    revision: 1,
    personId: devId,
    personEmail: dev.email,
    resource: 'orders-db',
    level: 'read',
    state: 'live',
    reason: 'ticket 7',
    madeBy: 'admin@example.test',
    madeAtMs: nowMs,
    expiresAtMs: nowMs + hourMs,
    revokedAtMs: null,
    revokedBy: null,
    revokeReason: null,
    ...more,
  }
}
/** The first two share eleven characters. */
export const grants: Grant[] = [
  makeGrant('0190aaaa-bbb1-7000-8000-000000000001'),
  makeGrant('0190aaaa-bbb2-7000-8000-000000000002', { level: 'write' }),
  makeGrant('77777777-bbb2-7000-8000-000000000003', { state: 'ended' }),
]
export const session: SessionView = {
  id: '55555555-5555-4555-8555-555555555555',
  state: 'live',
  personId: devId,
  personEmail: dev.email,
  grantId: grants[0]!.id,
  resource: 'orders-db',
  protocol: 'postgres',
  level: 'read',
  account: 'orders_read',
  proxyId,
  remoteAddress: '127.0.0.1',
  attributes: {},
  admittedBy: 'control',
  openedAtMs: nowMs - 61_000,
  closedAtMs: null,
  endReason: null,
  cut: null,
  statements: 3,
  bytesUp: 100,
  bytesDown: 12_345,
}
export const activity: ActivityView = {
  proxyId,
  epoch: 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa',
  sequence: 4,
  sessionId: session.id,
  personEmail: dev.email,
  resource: 'orders-db',
  protocol: 'postgres',
  level: 'read',
  kind: 'statement',
  atUs: nowMs * 1_000,
  // Clears a screen and sets a title, if it reaches a terminal as it is.
  text: "select '\u001b[2J\u001b]0;owned\u0007'\nfrom orders where id = $1",
  textBlob: null,
  preparedName: '',
  parameters: [{ form: 'text', value: '\u009b31m42' }, { form: 'null' }],
  parametersBlob: null,
  redacted: false,
  outcome: newOutcome({
    ...{ rows: 1, bytesUp: 10, bytesDown: 20, durationUs: 1_500, tag: 'SELECT 1' },
  }),
}

function findOr404<T extends { id: string }>(items: readonly T[], id: string | undefined): T {
  const found = items.find((item) => item.id === id)
  if (found !== undefined) return found
  throw new SallyportError('not-found', 'no such thing', {
    clientMessage: `nothing has the id ${id}`,
  })
}

export async function shopHandlers(): Promise<FakeHandlers> {
  const { segments } = await smallBundle()
  return {
    health: () => ({ ok: true, checks: {} }),
    whoami: ({ caller }) => ({
      person: { ...dev, email: caller ?? '', roles: ['admin'] },
      realm: 'default',
      certificate: { serial: 'abc123', expiresAtMs: systemClock.wallMs() + 8 * hourMs },
      login: null,
      controlTimeMs: systemClock.wallMs(),
    }),
    people: () => ({ items: [dev], next: null }),
    personCreate: ({ body }) => ({ ...dev, ...(body as Partial<Person>) }),
    personRevoke: () => ({ ...dev, state: 'revoked' }),
    personRestore: () => dev,
    certificateRevoke: () => ({ done: true }),
    resources: () => ({ items: [ordersDb], next: null }),
    why: ({ params }) => ({ resource: params['name'] ?? '', grants: [], pending: [], ways: [] }),
    grants: ({ query }) => ({
      items: grants.filter(({ state }) => query['state'] === 'all' || query['state'] === state),
      next: null,
    }),
    grant: ({ params }) => findOr404(grants, params['id']),
    grantMake: ({ body }) => {
      const { level, resource, forMs } = body as { level: 'read'; resource: string; forMs: number }
      return makeGrant('99999999-9999-4999-8999-999999999999', {
        level,
        resource,
        expiresAtMs: systemClock.wallMs() + forMs,
      })
    },
    grantExtend: ({ params, body }) => {
      const grant = findOr404(grants, params['id'])
      const { byMs } = body as { byMs: number }
      return { ...grant, revision: 2, expiresAtMs: grant.expiresAtMs + byMs }
    },
    grantRevoke: ({ params }) => {
      const grant = findOr404(grants, params['id'])
      if (grant.state !== 'live') {
        const clientMessage = 'that grant is over already'
        throw new SallyportError('conflict', clientMessage, { clientMessage })
      }
      return { ...grant, state: 'revoked', revokedAtMs: nowMs, revokedBy: 'admin@example.test' }
    },
    sessions: () => ({ items: [session], next: null }),
    session: ({ params }) => findOr404([session], params['id']),
    sessionCut: () => ({ done: true }),
    auditSearch: () => ({ items: [activity], next: null, indexLagMs: 0 }),
    auditActions: () => ({
      items: [
        {
          sequence: 1,
          atMs: nowMs,
          action: 'grant.made',
          actorEmail: 'admin@example.test',
          target: 'grant',
          remoteAddress: '127.0.0.1',
          details: { reason: 'ticket 7' },
        },
      ],
      next: null,
    }),
    auditKeys: () => auditKeys,
    // One segment a page, so that paging is part of every test.
    auditSegments: ({ query }) => {
      const at = Number(query['cursor'] ?? 0)
      return {
        items: segments.slice(at, at + 1),
        next: at + 1 < segments.length ? String(at + 1) : null,
      }
    },
    auditStatus: () => ({
      proxies: [
        {
          proxyId,
          connected: true,
          lastHeardAtMs: nowMs,
          entriesReceived: 10,
          entriesIndexed: 9,
          indexLagMs: 1_200,
          quarantined: 0,
        },
      ],
    }),
    groups: () => ({
      items: [
        {
          name: 'default',
          domain: 'access.localhost',
          sshSourceAddresses: [],
          proxies: [
            { id: proxyId, name: 'one', state: 'connected', joinedAtMs: nowMs, warnings: [] },
          ],
        },
      ],
    }),
    joinToken: () => ({ token: 'sallyport-join.secret.digest', expiresAtMs: nowMs + 900_000 }),
    resourcesApply: ({ body }) => {
      const { dryRun } = body as { dryRun: boolean }
      return {
        version: 3,
        applied: !dryRun,
        changes: [
          { action: 'add', name: 'new-db', details: [], sessionsAffected: 0 },
          {
            action: 'change',
            name: 'orders-db',
            details: ['address.port: 5432 → 5433'],
            sessionsAffected: 2,
          },
        ],
      }
    },
  }
}
