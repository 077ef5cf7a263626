/**
 * Every route × every kind of caller, over TLS. The table is written by hand and is not derived from `access`: a new
 * route fails here (and does not compile) until somebody has said whom it lets in.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { problem } from '../../control/api/problem.ts'
import { feedPath, routes, type Route, type RouteName } from '../../control/api/routes.ts'
import {
  startTestControl,
  type RawAnswer,
  type RunningSite,
  type TestCaller,
} from './running-control.ts'

const roles = ['engineer', 'admin', 'auditor'] as const
type LetIn = (typeof roles)[number] | 'proxy'

/** Whom a route lets in; `anyone` also without evidence. Everybody else is refused. */
const letIn: Record<RouteName, 'anyone' | readonly LetIn[]> = {
  health: 'anyone',
  readiness: 'anyone',
  whoami: ['engineer', 'admin', 'auditor'],
  loginDevice: 'anyone',
  loginDevicePoll: 'anyone',
  loginCode: 'anyone',
  loginCodeFinish: 'anyone',
  loginRefresh: ['engineer', 'admin', 'auditor'],
  logout: ['engineer', 'admin', 'auditor'],
  logins: ['engineer', 'admin', 'auditor'],
  loginEnd: ['engineer', 'admin', 'auditor'],
  people: ['admin', 'auditor'],
  personCreate: ['admin'],
  personRevoke: ['admin'],
  personRestore: ['admin'],
  certificateIssue: ['admin'],
  certificateRevoke: ['admin'],
  tokens: ['engineer', 'admin', 'auditor'],
  tokenMake: ['engineer', 'admin', 'auditor'],
  tokenRevoke: ['engineer', 'admin', 'auditor'],
  connectTokenMake: ['engineer', 'admin', 'auditor'],
  resources: ['engineer', 'admin', 'auditor'],
  resourcesApply: ['admin'],
  why: ['engineer', 'admin', 'auditor'],
  flows: ['engineer', 'admin', 'auditor'],
  flowsApply: ['admin'],
  flowsTest: ['admin', 'auditor'],
  requests: ['engineer', 'admin', 'auditor'],
  request: ['engineer', 'admin', 'auditor'],
  requestMake: ['engineer', 'admin'],
  requestApprove: ['engineer', 'admin'],
  requestDeny: ['engineer', 'admin'],
  requestWithdraw: ['engineer', 'admin'],
  grants: ['engineer', 'admin', 'auditor'],
  grant: ['engineer', 'admin', 'auditor'],
  grantMake: ['admin'],
  grantExtend: ['admin'],
  grantRevoke: ['admin'],
  grantGiveBack: ['engineer', 'admin', 'auditor'],
  extensionMake: ['engineer', 'admin'],
  sessions: ['engineer', 'admin', 'auditor'],
  session: ['engineer', 'admin', 'auditor'],
  sessionWatch: ['auditor'],
  sessionCut: ['admin'],
  recordings: ['engineer', 'admin', 'auditor'],
  recordingRead: ['auditor'],
  auditSearch: ['auditor'],
  auditActions: ['admin', 'auditor'],
  auditSegments: ['admin', 'auditor'],
  auditKeys: ['admin', 'auditor'],
  auditStatus: ['admin', 'auditor'],
  groups: ['admin', 'auditor'],
  groupCreate: ['admin'],
  groupChange: ['admin'],
  joinToken: ['admin'],
  proxyRevoke: ['admin'],
  proxyJoin: 'anyone',
  proxyRenew: ['proxy'],
  proxySegments: ['proxy'],
  proxyBlob: ['proxy'],
  proxyQuarantine: ['proxy'],
  sshAuthorities: ['engineer', 'admin', 'auditor'],
  sshKeys: ['engineer', 'admin', 'auditor'],
  sshKeyAdd: ['engineer', 'admin'],
  sshKeyRemove: ['engineer', 'admin'],
  proxySshSession: ['proxy'],
  jwks: 'anyone',
  proxyHttpFinish: ['proxy'],
  proxyAssertionKey: ['proxy'],
  proxySshHost: ['proxy'],
  proxySshSignIn: ['proxy'],
  proxySshSignInWait: ['proxy'],
}

/** Where an API token is let in, and of which scope it must be; no token anywhere else, whoever made it. */
const letTokenIn: Partial<Record<RouteName, 'read' | 'request'>> = {
  whoami: 'read',
  why: 'read',
  flows: 'read',
  requests: 'read',
  request: 'read',
  requestMake: 'request',
  requestWithdraw: 'request',
  extensionMake: 'request',
  resources: 'read',
  grants: 'read',
  grant: 'read',
  sessions: 'read',
  session: 'read',
}

/**
 * An auditor reads and changes nothing. What is not a GET and lets an auditor in anyway is about the person themselves
 * (their own sign-in, their own tokens, a grant they give back) or only asks (what flows would say), and is written down here,
 * one by one.
 */
const concernsOnlyOneself: readonly RouteName[] = [
  'loginRefresh',
  'logout',
  'loginEnd',
  'flowsTest',
  'grantGiveBack',
  'tokenMake',
  'tokenRevoke',
  'connectTokenMake',
]

const names = Object.keys(routes) as RouteName[]
/** Where a certificate that an admin issued is not enough: whoever issued it could be whom it names. */
const wantsSignIn: readonly RouteName[] = ['requestApprove', 'requestDeny']

const roleless = [
  'nobody',
  'stranger',
  'revoked person',
  'revoked certificate',
  'restored',
] as const
const callers = [...roles, 'issued', 'proxy', ...roleless] as const
type Caller = (typeof callers)[number]

let site: RunningSite
let evidence: Record<Caller, TestCaller>

beforeAll(async () => {
  const [here, elsewhere] = await Promise.all([startTestControl(), startTestControl()])
  site = here
  try {
    // Of the roles that would let them in everywhere, so that nothing but the revocation refuses them.
    const whole = (who: string) => site.addPerson(`${who}@example.test`, [...roles])
    const gone = await whole('gone')
    const lost = await whole('lost')
    const back = await whole('back')
    const reason = { reason: 'a test' }
    await site.admin.call('personRevoke', { params: { id: gone.person.id }, body: reason })
    await site.admin.call('certificateRevoke', { params: { serial: lost.serial }, body: reason })
    await site.admin.call('personRevoke', { params: { id: back.person.id }, body: reason })
    await site.admin.call('personRestore', { params: { id: back.person.id }, body: reason })
    evidence = {
      engineer: await site.addSignedIn('dev@example.test', ['engineer']),
      admin: await site.addSignedIn('lead@example.test', ['admin']),
      auditor: await site.addSignedIn('auditor@example.test', ['auditor']),
      issued: await whole('issued'),
      proxy: await site.addProxy(),
      nobody: {},
      stranger: await elsewhere.addPerson('dev@example.test', [...roles]),
      'revoked person': gone,
      'revoked certificate': lost,
      restored: back,
    }
  } finally {
    await elsewhere.close()
  }
})
afterAll(() => site.close())

/** 401: no evidence that counts; 403: known, and not allowed; undefined: let in. */
function expectedRefusal(name: RouteName, caller: Caller): 401 | 403 | undefined {
  const who = letIn[name]
  if (who === 'anyone' || who.some((one) => one === caller)) return undefined
  if (caller === 'issued' && !who.includes('proxy')) {
    return wantsSignIn.includes(name) ? 403 : undefined
  }
  const known = roles.some((role) => role === caller) && !who.includes('proxy')
  return known ? 403 : 401
}

function call(
  name: RouteName,
  caller: Caller,
  method?: string,
  headers?: Record<string, string>,
): Promise<RawAnswer> {
  const route: Route = routes[name]
  const path = route.path
    .replace('{id}', '00000000-0000-4000-8000-000000000000')
    .replace('{serial}', 'abc')
    .replace('{sha256}', '0'.repeat(64))
    .replace(/\{\w+\}/g, 'nowhere')
  // Nothing that fits: whoever is let in gets as far as the complaint about it.
  const isBare = route.method === 'GET' || route.method === 'DELETE' || method !== undefined
  const body = isBare ? undefined : { nonsense: true }
  return site.ask(evidence[caller], method ?? route.method, path, body, headers)
}

test('the table names every route, and no other', () => {
  expect(Object.keys(letIn).sort()).toEqual([...names].sort())
})

describe.each(callers)('%s', (caller) => {
  test.each(names)('%s', async (name) => {
    const answer = await call(name, caller)
    const expected = expectedRefusal(name, caller)
    if (expected === undefined) expect([401, 403, 500]).not.toContain(answer.status)
    else expect(answer.status, JSON.stringify(answer.body)).toBe(expected)
    if (answer.status < 400 || name === 'readiness') return
    expect(answer.contentType).toMatch(/^application\/problem\+json/)
    expect(problem.parse(answer.body).status).toBe(answer.status)
  })

  test('a HEAD is let in no further than its GET', async () => {
    const gets = names.filter((name) => routes[name].method === 'GET')
    for (const name of gets) {
      const { status } = await call(name, caller, 'HEAD')
      const expected = expectedRefusal(name, caller)
      if (expected !== undefined) expect(status, name).toBe(expected)
    }
  })
})

test('no other method does anything', async () => {
  for (const name of names) {
    const taken = names
      .filter((other) => routes[other].path === routes[name].path)
      .map((other): string => routes[other].method)
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      if (taken.includes(method)) continue
      expect((await call(name, 'admin', method)).status, `${method} ${name}`).toBe(404)
    }
  }
})

test('an auditor is refused by every route that changes anything', () => {
  const changing = names.filter((name) => routes[name].method !== 'GET')
  const open = changing.filter((name) => letIn[name].includes('auditor'))
  expect(open).toEqual(concernsOnlyOneself)
  // What anybody may call needs a secret of its own, or begins a sign-in, which gives one.
  const anyones = changing.filter((name) => letIn[name] === 'anyone')
  expect(anyones).toEqual([
    'proxyJoin',
    ...['loginDevice', 'loginDevicePoll', 'loginCode', 'loginCodeFinish'],
  ])
  for (const name of changing) {
    if (concernsOnlyOneself.includes(name) || anyones.includes(name)) continue
    expect(expectedRefusal(name, 'auditor'), name).toBeDefined()
  }
})

describe.each(['read', 'request', 'apps'] as const)('an API token of scope %s', (scope) => {
  let tokens: Record<(typeof roles)[number], string>
  beforeAll(async () => {
    const make = async (role: (typeof roles)[number]): Promise<string> => {
      const { api } = await site.addPerson(`${role}-${scope}@example.test`, [role])
      const body = { name: 'a test', scope, forMs: 3_600_000 }
      return (await api.call('tokenMake', { body })).token
    }
    tokens = {
      engineer: await make('engineer'),
      admin: await make('admin'),
      auditor: await make('auditor'),
    }
  })

  test.each(names)('%s', async (name) => {
    const who = letIn[name]
    if (who === 'anyone') return
    for (const role of roles) {
      const authorization = `Bearer ${tokens[role]}`
      const { status } = await call(name, 'nobody', undefined, { authorization })
      const needed = letTokenIn[name]
      const fits =
        scope !== 'apps' && (needed === 'read' || (needed === 'request' && scope === 'request'))
      if (who.includes('proxy')) expect(status).toBe(401)
      else if (fits && who.includes(role)) expect([401, 403, 500]).not.toContain(status)
      else expect(status, role).toBe(403)
    }
  })
})

test('a token that reads changes nothing; none decides, and only a sign-in does', () => {
  for (const name of names) {
    const { token, method, signedIn }: Route = routes[name]
    expect(signedIn === true, name).toBe(wantsSignIn.includes(name))
    expect(token, name).toBe(letTokenIn[name])
    if (token === 'read') expect(method, name).toBe('GET')
  }
})

test('only a proxy’s certificate opens the feed', async () => {
  for (const caller of callers) {
    if (caller === 'proxy') continue
    const answer = await site.ask(evidence[caller], 'GET', feedPath, undefined, {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      'sec-websocket-version': '13',
    })
    expect(answer.status, caller).toBe(401)
  }
})

test('headers that proxies in front would set change nobody', async () => {
  for (const headers of [
    { 'x-forwarded-user': 'admin@example.test', 'x-remote-user': 'admin@example.test' },
    { authorization: 'Bearer admin', 'x-client-cert': 'admin', 'x-ssl-client-verify': 'SUCCESS' },
    { 'x-http-method-override': 'GET', 'x-original-url': '/healthz', 'x-rewrite-url': '/healthz' },
    { host: 'localhost', 'x-forwarded-for': '127.0.0.1', forwarded: 'for=127.0.0.1' },
  ]) {
    const people = await site.ask(evidence.engineer, 'GET', '/v1/people', undefined, headers)
    expect(people.status).toBe(403)
    const whoami = await site.ask({}, 'GET', '/v1/whoami', undefined, headers)
    expect(whoami.status).toBe(401)
  }
})

test('paths written in other ways reach nothing that the plain path refuses', async () => {
  for (const path of ['/v1//people', '/v1/people/', '/V1/PEOPLE', '/v1/./people', '/v1/%70eople']) {
    const { status } = await site.ask(evidence.engineer, 'GET', path)
    expect([403, 404], path).toContain(status)
  }
})
