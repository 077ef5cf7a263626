import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { problem } from '../../control/api/problem.ts'
import { routes } from '../../control/api/routes.ts'
import { verifyControlChain } from './verify-control-chain.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import {
  resourceNamed,
  signIn,
  startTestControl,
  type RunningSite,
  type TestPerson,
  type TestProxy,
} from './running-control.ts'
import { createApiClient } from '../../control/api/client.ts'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

const nobody = '00000000-0000-4000-8000-000000000000'

describe.each(['embedded', 'postgres'] as const)('the API over the %s store', (engine) => {
  let site: RunningSite
  let engineer: TestPerson
  let other: TestPerson
  let auditor: TestPerson
  let lead: TestPerson
  let proxy: TestProxy

  beforeAll(async () => {
    site = await startTestControl(
      engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() },
    )
    engineer = await site.addPerson('dev@example.test', ['engineer'])
    other = await site.addPerson('oncall@example.test', ['engineer'])
    auditor = await site.addPerson('auditor@example.test', ['auditor'])
    lead = await site.addPerson('lead@example.test', ['admin'])
    proxy = await site.addProxy()
    await site.admin.call('resourcesApply', {
      body: { file: { resources: [resourceNamed('orders-db'), resourceNamed('users-db')] } },
    })
  })
  afterAll(() => site.close())

  const make = (person: TestPerson, resource = 'orders-db', forMs = 3_600_000) =>
    site.admin.call('grantMake', {
      body: { person: person.person.email, resource, level: 'read', forMs, reason: 'ticket 7' },
    })

  test('every answer carries the headers that keep browsers and caches away', async () => {
    const { headers } = await site.ask({}, 'GET', '/healthz')
    expect(headers['cache-control']).toBe('no-store')
    expect(headers['x-content-type-options']).toBe('nosniff')
    expect(headers['strict-transport-security']).toBeDefined()
  })

  test('what does not fit is refused with where and why, and never with a stack', async () => {
    const wrong = await site.ask(lead, 'POST', '/v1/grants', { person: 'x', level: 'all' })
    expect(wrong.status).toBe(400)
    const { issues, code } = problem.parse(wrong.body)
    expect(code).toBe('request-invalid')
    expect(issues!.map((issue) => issue.path)).toContain('body.level')
    for (const [body, status] of [
      ['{', 400],
      ['x'.repeat(2 * 1024 * 1024), 413],
    ] as const) {
      const answer = await site.ask(lead, 'POST', '/v1/grants', body)
      expect(answer.status).toBe(status)
      expect(JSON.stringify(answer.body)).not.toMatch(/at .*\.ts|node_modules/)
    }
    expect((await site.ask(lead, 'GET', '/v1/nothing')).status).toBe(404)
    expect((await site.ask(lead, 'GET', '/v1/grants?limit=0')).status).toBe(400)
    expect((await site.ask(lead, 'GET', '/v1/grants?cursor=zzzz')).status).toBe(400)
    expect((await site.ask(lead, 'GET', '/v1/grants?nonsense=1')).status).toBe(400)
  })

  test('the OpenAPI document names every route, its parameters and its shapes', async () => {
    const { body, status } = await site.ask({}, 'GET', '/openapi.json')
    expect(status).toBe(200)
    expect(body['openapi']).toBe('3.1.0')
    const paths = body['paths'] as Record<string, Record<string, Record<string, unknown>>>
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    )
    expect(operations.map(({ operation }) => String(operation['operationId'])).sort()).toEqual(
      Object.keys(routes).sort(),
    )
    for (const { path, operation } of operations) {
      const parameters = (operation['parameters'] ?? []) as { name: string; in: string }[]
      const inPath = parameters.filter((each) => each.in === 'path').map((each) => each.name)
      expect(inPath).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]))
      expect(operation['responses']).toHaveProperty('200')
      expect(operation['responses']).toHaveProperty('default')
    }
    // Nothing is left that JSON Schema could not say, and every reference leads somewhere.
    const text = JSON.stringify(body)
    const references = [...text.matchAll(/"\$ref":"(#[^"]*)"/g)].map((match) => match[1]!)
    for (const reference of new Set(references)) {
      const target = reference
        .slice(2)
        .split('/')
        .reduce<unknown>((at, key) => (at as Record<string, unknown>)?.[key], body)
      expect(target, reference).toBeDefined()
    }
  })

  test('whoami names the person and the certificate', async () => {
    const me = await engineer.api.call('whoami')
    expect(me.person).toEqual(engineer.person)
    expect(me.certificate!.serial).toBe(engineer.serial)
  })

  test('a grant is made, extended and revoked; each change has its revision', async () => {
    const made = await make(engineer)
    expect(made).toMatchObject({ revision: 1, state: 'live', madeBy: 'admin@example.test' })
    const extended = await site.admin.call('grantExtend', {
      params: { id: made.id },
      body: { byMs: 60_000, reason: 'longer' },
    })
    expect(extended).toMatchObject({ revision: 2, expiresAtMs: made.expiresAtMs + 60_000 })
    const revoked = await site.admin.call('grantRevoke', {
      params: { id: made.id },
      body: { reason: 'over' },
    })
    expect(revoked).toMatchObject({ revision: 3, state: 'revoked', revokeReason: 'over' })
    // Once more changes nothing.
    const again = await site.admin.call('grantRevoke', {
      params: { id: made.id },
      body: { reason: 'again' },
    })
    expect(again).toEqual(revoked)
    await expect(
      site.admin.call('grantExtend', {
        params: { id: made.id },
        body: { byMs: 60_000, reason: 'no' },
      }),
    ).rejects.toMatchObject({ code: 'conflict' })
  })

  test('grants are refused for what is not there, and to oneself', async () => {
    const body = {
      person: 'dev@example.test',
      resource: 'orders-db',
      level: 'read' as const,
      forMs: 60_000,
      reason: 'x',
    }
    const refusals = [
      [{ ...body, person: 'stranger@example.test' }, 'not-found'],
      [{ ...body, resource: 'nothing' }, 'not-found'],
      [{ ...body, level: 'admin' as const }, 'conflict'],
      [{ ...body, person: 'admin@example.test' }, 'not-allowed'],
    ] as const
    for (const [ask, code] of refusals) {
      await expect(site.admin.call('grantMake', { body: ask })).rejects.toMatchObject({ code })
    }
    const mine = await lead.api.call('grantMake', {
      body: { ...body, person: 'admin@example.test' },
    })
    await expect(
      site.admin.call('grantExtend', {
        params: { id: mine.id },
        body: { byMs: 1_000, reason: 'x' },
      }),
    ).rejects.toMatchObject({ code: 'not-allowed' })
    const long = await make(engineer, 'users-db', 30 * 86_400_000)
    await expect(
      site.admin.call('grantExtend', {
        params: { id: long.id },
        body: { byMs: 86_400_000, reason: 'x' },
      }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
    await site.admin.call('grantRevoke', { params: { id: long.id }, body: { reason: 'x' } })
  })

  test('an engineer sees their own grants and the resources of these, and nothing of others', async () => {
    const mine = await make(engineer, 'orders-db')
    const theirs = await make(other, 'users-db')
    const { items } = await engineer.api.call('grants', { query: { state: 'all', limit: 1_000 } })
    expect(items.map((grant) => grant.id)).toContain(mine.id)
    expect(new Set(items.map((grant) => grant.personEmail))).toEqual(new Set(['dev@example.test']))
    const visible = await engineer.api.call('resources')
    expect(visible.items.map((resource) => resource.name)).toEqual(['orders-db'])
    expect(visible.items[0]).not.toHaveProperty('definition')
    const all = await auditor.api.call('resources')
    expect(all.items.map((resource) => resource.name)).toEqual(['orders-db', 'users-db'])
    expect(all.items[0]).toHaveProperty('definition')
    // Another person's, and nobody's: the same words.
    const unknown = await site.ask(engineer, 'GET', `/v1/grants/${nobody}`)
    const forbidden = await site.ask(engineer, 'GET', `/v1/grants/${theirs.id}`)
    expect(forbidden).toMatchObject({ status: 404, body: unknown.body })
    expect((await site.ask(auditor, 'GET', `/v1/grants/${theirs.id}`)).status).toBe(200)
    // Filters do not widen what one sees.
    const filtered = await engineer.api.call('grants', {
      query: { person: 'oncall@example.test', state: 'all' },
    })
    expect(filtered.items).toEqual([])
  })

  test('pages come to every item once, in order', async () => {
    for (let index = 0; index < 7; index += 1) await make(other, 'users-db', 60_000 + index)
    const seen: string[] = []
    let cursor: string | undefined
    do {
      const page = await site.admin.call('grants', {
        query: {
          limit: 3,
          state: 'all',
          person: 'oncall@example.test',
          ...(cursor === undefined ? {} : { cursor }),
        },
      })
      seen.push(...page.items.map((grant) => grant.id))
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    const whole = await site.admin.call('grants', {
      query: { limit: 1_000, state: 'all', person: 'oncall@example.test' },
    })
    expect(seen).toEqual(whole.items.map((grant) => grant.id))
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen.length).toBeGreaterThanOrEqual(7)
    const people: string[] = []
    for (let next: string | null | undefined; next !== null;) {
      const page: { items: { id: string }[]; next: string | null } = await site.admin.call(
        'people',
        {
          query: { limit: 2, ...(next === undefined ? {} : { cursor: next }) },
        },
      )
      people.push(...page.items.map((person) => person.id))
      next = page.next
    }
    expect(new Set(people).size).toBe(people.length)
    expect(people).toContain(engineer.person.id)
  })

  test('resources are planned field by field, applied once, and removed with their grants', async () => {
    const api = site.admin
    const moved = { host: '10.0.0.9', port: 5433 }
    const file = {
      resources: [
        resourceNamed('orders-db'),
        resourceNamed('users-db', { address: moved, tags: { tier: 'gold' } }),
        resourceNamed('new-db'),
      ],
    }
    const plan = await api.call('resourcesApply', { body: { file, dryRun: true } })
    expect(plan.applied).toBe(false)
    expect(plan.changes).toEqual([
      { action: 'add', name: 'new-db', details: [], sessionsAffected: 0 },
      { action: 'keep', name: 'orders-db', details: [], sessionsAffected: 0 },
      {
        action: 'change',
        name: 'users-db',
        details: [
          'address.host: 127.0.0.1 → 10.0.0.9',
          'address.port: 5432 → 5433',
          'tags.tier: (none) → gold',
        ],
        sessionsAffected: 0,
      },
    ])
    const expectedVersion = plan.version
    const applied = await api.call('resourcesApply', { body: { file, expectedVersion } })
    expect(applied).toMatchObject({ applied: true, version: expectedVersion + 1 })
    await expect(
      api.call('resourcesApply', { body: { file, expectedVersion } }),
    ).rejects.toMatchObject({ code: 'conflict' })

    const grant = await api.call('grantMake', {
      body: {
        person: 'dev@example.test',
        resource: 'new-db',
        level: 'read',
        forMs: 60_000,
        reason: 'x',
      },
    })
    const kept = { resources: file.resources.slice(0, 2) }
    const without = await api.call('resourcesApply', { body: { file: kept } })
    expect(without.changes.find((change) => change.name === 'new-db')!.action).toBe('keep')
    await api.call('resourcesApply', { body: { file: kept, prune: true } })
    expect(await api.call('grant', { params: { id: grant.id } })).toMatchObject({
      state: 'revoked',
      revokeReason: 'the resource was removed',
    })
    const bad = { resources: [resourceNamed('a', { group: 'nowhere' }), resourceNamed('a')] }
    await expect(api.call('resourcesApply', { body: { file: bad } })).rejects.toMatchObject({
      code: 'config-invalid',
      issues: [{ path: 'resources.0.group' }, { path: 'resources.1.name' }],
    })
  })

  test('a level that is offered no more takes its grants along', async () => {
    const api = site.admin
    const two = resourceNamed('levels-db')
    await api.call('resourcesApply', { body: { file: { resources: [two] } } })
    const grants = await Promise.all(
      (['read', 'write'] as const).map((level) =>
        api.call('grantMake', {
          body: {
            person: 'dev@example.test',
            resource: 'levels-db',
            level,
            forMs: 60_000,
            reason: 'x',
          },
        }),
      ),
    )
    const one = { ...two, levels: { read: two.levels.read } }
    await api.call('resourcesApply', { body: { file: { resources: [one] } } })
    const states = await Promise.all(
      grants.map((grant) => api.call('grant', { params: { id: grant.id } })),
    )
    expect(states.map((grant) => grant.state)).toEqual(['live', 'revoked'])
  })

  test('a revoked person, and every certificate of theirs, is refused until restored', async () => {
    const person = await site.addPerson('gone@example.test', ['engineer'])
    const id = person.person.id
    const revoked = await site.admin.call('personRevoke', {
      params: { id },
      body: { reason: 'left' },
    })
    expect(revoked.state).toBe('revoked')
    await expect(person.api.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
    await expect(make(person)).rejects.toMatchObject({ code: 'conflict' })
    await expect(signIn(site.admin, person.person, () => person.api)).rejects.toMatchObject({
      code: 'conflict',
    })
    await site.admin.call('personRestore', { params: { id }, body: { reason: 'back' } })
    await expect(person.api.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
    const { keys } = site.running.control
    const again = await signIn(site.admin, person.person, (caller) =>
      createApiClient({
        baseUrl: site.running.url,
        authorityPem: keys.authorities.control.certificatePem,
        ...caller,
      }),
    )
    // It begins after the moment of the restoration, which is less than a second away.
    await expect
      .poll(() => again.api.call('whoami').then((me) => me.person.email, String), {
        timeout: 5_000,
      })
      .toBe('gone@example.test')
    again.api.close()
    await expect(
      lead.api.call('personRevoke', { params: { id: lead.person.id }, body: { reason: 'x' } }),
    ).rejects.toMatchObject({ code: 'not-allowed' })
  })

  test('one revoked certificate leaves the person’s others alone', async () => {
    const person = await site.addPerson('two-keys@example.test', ['engineer'])
    const params = { serial: person.serial }
    await site.admin.call('certificateRevoke', { params, body: { reason: 'lost laptop' } })
    await expect(person.api.call('whoami')).rejects.toMatchObject({ code: 'evidence-invalid' })
    await expect(
      site.admin.call('certificateRevoke', { params: { serial: 'abc' }, body: { reason: 'x' } }),
    ).rejects.toMatchObject({ code: 'not-found' })
  })

  test('certificates live no longer than configured, and only for good requests', async () => {
    const params = { id: engineer.person.id }
    const { requestPem } = await createKeyAndRequest()
    const forMs = 9 * 3_600_000
    await expect(
      site.admin.call('certificateIssue', { params, body: { requestPem, forMs } }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
    await expect(
      site.admin.call('certificateIssue', { params, body: { requestPem: 'nonsense' } }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
  })

  test('an expired certificate is told from a false one', async () => {
    const person = await site.addPerson('late@example.test', ['engineer'])
    site.clock.shiftMs = 9 * 3_600_000
    try {
      await expect(person.api.call('whoami')).rejects.toMatchObject({ code: 'evidence-expired' })
    } finally {
      site.clock.shiftMs = 0
    }
  })

  test('a person is added once', async () => {
    await expect(
      site.admin.call('personCreate', { body: { email: 'DEV@example.test' } }),
    ).rejects.toMatchObject({ code: 'conflict' })
  })

  test('groups show their proxies', async () => {
    await site.admin.call('groupCreate', { body: { name: 'edge', domain: 'edge.example.test' } })
    await expect(
      site.admin.call('groupCreate', { body: { name: 'edge', domain: 'x.test' } }),
    ).rejects.toMatchObject({ code: 'conflict' })
    // Proxies are certified for each name of their domain: no group may stand in for another.
    for (const domain of ['edge.example.test', 'a.edge.example.test', 'example.test']) {
      await expect(
        site.admin.call('groupCreate', { body: { name: 'nested', domain } }),
      ).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('overlaps') })
    }
    const { items } = await auditor.api.call('groups')
    expect(items.map((group) => group.name)).toEqual(['default', 'edge'])
    expect(items[0]!.proxies).toMatchObject([{ id: proxy.joined.proxyId, state: 'away' }])
  })

  test('a proxy renews its certificates', async () => {
    const [client, tls] = await Promise.all([createKeyAndRequest(), createKeyAndRequest()])
    const renewed = await proxy.api.call('proxyRenew', {
      body: { clientRequestPem: client.requestPem, serverRequestPem: tls.requestPem },
    })
    expect(renewed.proxyId).toBe(proxy.joined.proxyId)
    expect(renewed.clientCertificatePem).not.toBe(proxy.joined.clientCertificatePem)
  })

  test('cutting a session that nobody knows is not found', async () => {
    await expect(
      site.admin.call('sessionCut', { params: { id: nobody }, body: { reason: 'x' } }),
    ).rejects.toMatchObject({ code: 'not-found' })
  })

  test('what was done is in control’s own chain, which verifies with and without payloads', async () => {
    const { items } = await auditor.api.call('auditActions', { query: { limit: 1_000 } })
    const actions = items.map((item) => item.action)
    for (const action of [
      ...['grant.made', 'grant.extended', 'grant.revoked', 'person.created', 'person.revoked'],
      ...['person.restored', 'certificate.issued', 'certificate.revoked', 'resources.applied'],
      ...['join-token.made', 'proxy.joined', 'proxy.renewed', 'proxy-group.created'],
    ]) {
      expect(actions, action).toContain(action)
    }
    expect(items.map((item) => item.sequence)).toEqual(
      items.map((_, index) => items[0]!.sequence - index),
    )
    const made = items.find((item) => item.action === 'grant.made')!
    expect(made).toMatchObject({ details: { resource: expect.any(String) } })
    // That somebody read these is on record too.
    const next = await auditor.api.call('auditActions', { query: { limit: 1 } })
    expect(next.items[0]).toMatchObject({
      action: 'audit.read',
      actorEmail: 'auditor@example.test',
      target: 'actions',
    })
    expect((await verifyControlChain(auditor.api, 'with')).damage).toEqual([])
    expect((await verifyControlChain(auditor.api, 'without')).damage).toEqual([])
  })

  test('details are encrypted at rest, and the chain is what is kept', async () => {
    const { state } = site.running.stores
    const rows = await state.query<{ skeleton: Buffer; sealed_payload: Buffer }>(
      'select skeleton, sealed_payload from control_chain order by batch',
    )
    expect(rows.length).toBeGreaterThan(20)
    const kept = Buffer.concat(rows.flatMap((row) => [row.skeleton, row.sealed_payload]))
    expect(kept.includes('ticket 7')).toBe(false)
    expect(kept.includes('grant.made')).toBe(true)
  })

  test('the operator’s port says how it is, in labels that are bounded', async () => {
    const base = `http://127.0.0.1:${site.running.operationsPort}`
    const ready = await fetch(`${base}/readyz`)
    expect(ready.status).toBe(200)
    expect(await ready.json()).toMatchObject({ ok: true, checks: { store: { ok: true } } })
    expect((await fetch(`${base}/healthz`)).status).toBe(200)
    expect((await fetch(`${base}/v1/people`)).status).toBe(404)
    const text = await (await fetch(`${base}/metrics`)).text()
    const labels = [...text.matchAll(/request_seconds_count\{route="(\w+)",status="(\dxx)"\}/g)]
    expect(labels.length).toBeGreaterThan(5)
    for (const [, route] of labels) expect(['none', ...Object.keys(routes)]).toContain(route)
    expect(text).toMatch(/sallyport_control_proxies_connected 0/)
    expect(text).toMatch(/sallyport_control_nodejs_eventloop_lag_seconds/)
    expect(text).not.toMatch(/example\.test/)
  })

  test('a long search of the audit keeps no decision waiting', async () => {
    let searching = true
    const search = site.running.stores.audit
      .query('select pg_sleep(3)')
      .finally(() => (searching = false))
    await engineer.api.call('whoami')
    await make(engineer)
    expect(searching).toBe(true)
    await search
  })

  test('private keys and join secrets are not in the database in the clear', async () => {
    const { state } = site.running.stores
    const keys = await state.query<{ use: string; sealed_private_key: Buffer }>(
      'select use, sealed_private_key from signing_keys order by use',
    )
    expect(keys.map((key) => key.use)).toEqual([
      ...['audit', 'control-authority', 'grants', 'leases', 'people-authority'],
      ...['proxies-authority', 'ssh-hosts-authority', 'ssh-people-authority'],
      'ssh-upstream-authority',
    ])
    for (const key of keys) {
      expect(key.sealed_private_key.subarray(0, 4).toString()).toBe('SPSF')
    }
  })
})
