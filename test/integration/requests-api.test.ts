/** Access flows and requests over the API, on both stores. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { approveRequest, denyRequest } from '../../control/requests/decide-request.ts'
import { askedInHourMax } from '../../control/requests/enter-request.ts'
import { expireRequests } from '../../control/requests/expire-requests.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import {
  allLevels,
  approve,
  ask,
  demoFlows,
  deny,
  flowNamed,
  withdraw,
} from './requests-fixture.ts'
import {
  resourceNamed,
  signIn,
  startTestControl,
  type RunningSite,
  type TestPerson,
} from './running-control.ts'
import { verifyControlChain } from './verify-control-chain.ts'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

const hourMs = 3_600_000

describe.each(['embedded', 'postgres'] as const)('requests over the %s store', (engine) => {
  let site: RunningSite
  let dev: TestPerson
  let lead: TestPerson
  let lead2: TestPerson
  let stranger: TestPerson
  let auditor: TestPerson
  let boss: TestPerson

  const applyResources = (...more: object[]) =>
    site.admin.call('resourcesApply', {
      body: {
        file: {
          resources: [
            resourceNamed('orders-db', { levels: allLevels, tags: { environment: 'production' } }),
            resourceNamed('hidden-db'),
            ...(more as ReturnType<typeof resourceNamed>[]),
          ],
        },
        prune: true,
      },
    })
  const applyFlows = (flows = demoFlows) => site.admin.call('flowsApply', { body: { flows } })
  const actions = async () =>
    (await auditor.api.call('auditActions', { query: { limit: 1_000 } })).items

  beforeAll(async () => {
    site = await startTestControl(
      engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() },
    )
    dev = await site.addSignedIn('dev@example.test', ['engineer'], ['engineers'])
    lead = await site.addSignedIn('lead@example.test', ['engineer'], ['engineers', 'leads'])
    lead2 = await site.addSignedIn('lead2@example.test', ['admin'], ['leads'])
    stranger = await site.addSignedIn('stranger@example.test', ['engineer'])
    auditor = await site.addSignedIn('auditor@example.test', ['auditor'])
    boss = await site.addSignedIn('boss@example.test', ['admin'])
    await applyResources()
    await applyFlows()
  })
  afterAll(() => site.close())
  afterEach(async () => {
    site.clock.shiftMs = 0
    const { items } = await dev.api.call('requests', { query: { mine: 'asked' } })
    for (const { id } of items) await withdraw(dev, id)
  })

  describe('flows', () => {
    test('are planned, applied once, kept in every version with their author', async () => {
      const before = await boss.api.call('flows')
      const more = flowNamed('more', ['read'], 1, { resources: { tags: { tier: 'gold' } } })
      const flows = [...demoFlows, more]
      const plan = await boss.api.call('flowsApply', { body: { flows, dryRun: true } })
      expect(plan).toMatchObject({ applied: false, version: before.version })
      expect(plan.changes.map(({ action, name }) => `${action} ${name}`)).toEqual([
        ...['keep reading', 'keep writing', 'keep deleting', 'add more'],
      ])
      const expectedVersion = plan.version
      const applied = await boss.api.call('flowsApply', { body: { flows, expectedVersion } })
      expect(applied).toMatchObject({ applied: true, version: expectedVersion + 1 })
      await expect(
        boss.api.call('flowsApply', { body: { flows: [], expectedVersion } }),
      ).rejects.toMatchObject({ code: 'conflict' })
      const seen = await auditor.api.call('flows')
      expect(seen).toMatchObject({ version: expectedVersion + 1, author: 'boss@example.test' })
      expect(seen.flows.map(({ name }) => name)).toEqual(['reading', 'writing', 'deleting', 'more'])
      // The same again is no new version.
      expect((await boss.api.call('flowsApply', { body: { flows } })).version).toBe(
        expectedVersion + 1,
      )
      const back = await applyFlows([...demoFlows].reverse())
      expect(back.changes.map(({ action, name }) => `${action} ${name}`)).toEqual([
        ...['change deleting', 'keep writing', 'change reading', 'remove more'],
      ])
      await applyFlows()
      const kept = await site.running.control.state.query<{ version: number; author: string }>(
        'select version, author from flows_versions order by version',
      )
      expect(kept.map(({ version }) => version)).toEqual(kept.map((_, index) => index + 1))
      expect(kept[expectedVersion]!.author).toBe('boss@example.test')
      const [made] = (await actions()).filter(({ action }) => action === 'flows.applied')
      expect(made).toMatchObject({ details: { changes: expect.any(Array) } })
    })

    test('with a name twice, or an empty selector, are refused with where', async () => {
      const twice = { flows: [demoFlows[0]!, demoFlows[0]!] }
      await expect(boss.api.call('flowsApply', { body: twice })).rejects.toMatchObject({
        code: 'config-invalid',
        issues: [{ path: 'flows.1.name' }],
      })
      for (const resources of [{}, { tags: {} }, { names: [] }]) {
        const flows = [flowNamed('all', ['read'], 0, { resources })]
        const answer = await site.ask(boss, 'POST', '/v1/flows/apply', { flows })
        expect(answer.status).toBe(400)
      }
    })

    test('are seen by those who may ask or decide by them', async () => {
      expect((await dev.api.call('flows')).flows).toHaveLength(3)
      expect((await stranger.api.call('flows')).flows).toEqual([])
      expect((await auditor.api.call('flows')).flows).toHaveLength(3)
    })

    test('tell what somebody could ask for, to the person and to who tests them', async () => {
      const why = await dev.api.call('why', { params: { name: 'orders-db' } })
      expect(why.ways.map((way) => [way.level, way.flow, way.approvalsNeeded])).toEqual([
        ['read', 'reading', 0],
        ['write', 'writing', 1],
        ['delete', 'deleting', 2],
        ['admin', 'deleting', 2],
      ])
      expect(why.ways[1]).toMatchObject({
        approvers: { people: [], groups: ['leads'] },
        longestMs: 2 * hourMs,
        defaultMs: hourMs / 2,
      })
      const tested = await auditor.api.call('flowsTest', {
        body: { person: 'dev@example.test', resource: 'orders-db', level: 'write' },
      })
      expect(tested.ways).toEqual([why.ways[1]])
      const none = await boss.api.call('flowsTest', {
        body: { person: 'stranger@example.test', resource: 'orders-db', level: 'read' },
      })
      expect(none.ways).toEqual([])
    })

    test('unknown and forbidden look the same', async () => {
      const body = (resource: string) => ({ resource, level: 'read', reason: 'x' })
      for (const person of [dev, stranger, boss]) {
        const unknown = await site.ask(person, 'POST', '/v1/requests', body('no-such-db'))
        const forbidden = await site.ask(person, 'POST', '/v1/requests', body('hidden-db'))
        expect(forbidden).toMatchObject({ status: 404, body: unknown.body })
        const [noWhy, hidden] = await Promise.all(
          ['no-such-db', 'hidden-db'].map((name) =>
            site.ask(person, 'GET', `/v1/resources/${name}/why`),
          ),
        )
        expect(hidden).toMatchObject({ status: 404, body: noWhy!.body })
      }
      const seen = await dev.api.call('resources')
      expect(seen.items.map(({ name, reach, ask: could }) => ({ name, reach, could }))).toEqual([
        { name: 'orders-db', reach: [], could: ['read', 'write', 'delete', 'admin'] },
      ])
      expect((await stranger.api.call('resources')).items).toEqual([])
    })
  })

  describe('asking', () => {
    test('what the flow allows automatically is granted at once', async () => {
      const { request, grant } = await ask(dev, 'read')
      expect(request).toMatchObject({
        ...{ state: 'approved', kind: 'access', flow: 'reading', approvalsNeeded: 0 },
        ...{ forMs: hourMs, grantId: grant!.id, decisions: [], mine: 'asked' },
      })
      expect(grant).toMatchObject({ state: 'live', level: 'read', personEmail: 'dev@example.test' })
      expect(grant!.expiresAtMs - grant!.madeAtMs).toBe(hourMs)
      const seen = await dev.api.call('resources')
      expect(seen.items[0]).toMatchObject({ name: 'orders-db', reach: ['read'] })
      const given = await dev.api.call('grantGiveBack', { params: { id: grant!.id }, body: {} })
      expect(given).toMatchObject({ state: 'revoked', revokeReason: 'given back' })
      const again = await dev.api.call('grantGiveBack', { params: { id: grant!.id }, body: {} })
      expect(again).toEqual(given)
    })

    test('too long, without a reason, or at a level of no flow is refused with what would do', async () => {
      await expect(ask(dev, 'read', { forMs: 9 * hourMs })).rejects.toMatchObject({
        code: 'request-invalid',
        hint: 'ask for less: --for 8h',
      })
      await expect(ask(dev, 'read', { reason: '  ' })).rejects.toMatchObject({
        code: 'request-invalid',
      })
      await applyFlows(demoFlows.slice(0, 1))
      await expect(ask(dev, 'write')).rejects.toMatchObject({ code: 'not-allowed' })
      await applyFlows()
    })

    test('the way with the fewest approvals is taken; of two such, the first', async () => {
      const named = (name: string, approvals: number) => flowNamed(name, ['read'], approvals)
      await applyFlows([named('two', 2), named('one', 1), named('other', 1)])
      expect((await ask(dev, 'read')).request.flow).toBe('one')
      await applyFlows()
    })

    test('nobody asks without end', async () => {
      const busy = await site.addPerson('busy@example.test', ['engineer'], ['engineers'])
      const { request, grant } = await ask(busy, 'read')
      await busy.api.call('grantGiveBack', { params: { id: grant!.id }, body: {} })
      await site.running.control.state.query(
        `insert into requests select (jsonb_populate_record(r, jsonb_build_object(
           'id', gen_random_uuid(), 'grant_id', null))).*
         from requests r, generate_series(1, $2) where r.id = $1`,
        [request.id, askedInHourMax - 1],
      )
      await expect(ask(busy, 'read')).rejects.toMatchObject({ code: 'rate-limited' })
      expect((await ask(dev, 'read')).grant).not.toBeNull()
      site.clock.shiftMs = hourMs + 1_000
      expect((await ask(busy, 'read')).grant).not.toBeNull()
    })

    test('the same twice is refused while the first waits', async () => {
      const { request } = await ask(dev, 'write')
      await expect(ask(dev, 'write')).rejects.toMatchObject({ code: 'conflict' })
      const both = await Promise.allSettled([ask(lead, 'delete'), ask(lead, 'delete')])
      expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
      await withdraw(dev, request.id)
      expect((await ask(dev, 'write')).request.state).toBe('pending')
    })
  })

  describe('deciding', () => {
    test('the clock starts at the approval, and every decision says who, when, from where, by what', async () => {
      const { request, grant } = await ask(dev, 'write', { forMs: hourMs })
      expect(grant).toBeNull()
      expect(request).toMatchObject({ state: 'pending', approvalsNeeded: 1, grantId: null })
      site.clock.shiftMs = hourMs / 2
      const comment = 'be careful'
      const approved = await approve(lead, request.id, { comment })
      expect(approved).toMatchObject({ state: 'approved', mine: 'watch' })
      const made = await dev.api.call('grant', { params: { id: approved.grantId! } })
      expect(made.madeAtMs).toBeGreaterThanOrEqual(request.madeAtMs + hourMs / 2)
      expect(made.expiresAtMs - made.madeAtMs).toBe(hourMs)
      expect(made.madeBy).toBe('lead@example.test')
      const [decision] = approved.decisions
      expect(decision).toMatchObject({
        ...{ personId: lead.person.id, personEmail: 'lead@example.test', verdict: 'approve' },
        ...{ comment, atMs: made.madeAtMs, level: null, forMs: null },
      })
      expect(decision!.remoteAddress).toMatch(/127\.0\.0\.1|::1/)
      const recorded = (await actions()).filter(({ target }) => target === request.id)
      expect(recorded.map(({ action }) => action)).toEqual(['request.approved', 'request.made'])
      expect(recorded[0]).toMatchObject({
        actorEmail: 'lead@example.test',
        remoteAddress: decision!.remoteAddress,
        details: { flow: 'writing', flowsVersion: request.flowsVersion, comment },
      })
      // Once more by the same, nothing; by another, too late.
      expect(await approve(lead, request.id)).toEqual(approved)
      await expect(approve(lead2, request.id)).rejects.toMatchObject({ code: 'conflict' })
      await expect(deny(lead2, request.id)).rejects.toMatchObject({ code: 'conflict' })
      await expect(withdraw(dev, request.id)).rejects.toMatchObject({ code: 'conflict' })
    })

    test('nobody approves their own, and nobody whom the flow does not name', async () => {
      const { request } = await ask(lead, 'write')
      await expect(approve(lead, request.id)).rejects.toMatchObject({
        code: 'not-allowed',
        message: 'nobody approves their own request',
      })
      await expect(deny(lead, request.id)).rejects.toMatchObject({ code: 'not-allowed' })
      // Admins and auditors see it, and learn why not; for others it does not exist.
      const seen = await auditor.api.call('request', { params: { id: request.id } })
      expect(seen).toMatchObject({ state: 'pending', mine: 'watch' })
      for (const person of [boss, auditor]) {
        await expect(approve(person, request.id)).rejects.toMatchObject({ code: 'not-allowed' })
        await expect(deny(person, request.id)).rejects.toMatchObject({ code: 'not-allowed' })
        await expect(withdraw(person, request.id)).rejects.toMatchObject({ code: 'not-allowed' })
      }
      for (const person of [dev, stranger]) {
        await expect(approve(person, request.id)).rejects.toMatchObject({ code: 'not-found' })
        await expect(deny(person, request.id)).rejects.toMatchObject({ code: 'not-found' })
        await expect(withdraw(person, request.id)).rejects.toMatchObject({ code: 'not-found' })
        const [unknown, others] = await Promise.all(
          [randomUUID(), request.id].map((id) => site.ask(person, 'GET', `/v1/requests/${id}`)),
        )
        expect(others).toMatchObject({ status: 404, body: unknown!.body })
      }
      expect(await withdraw(lead, request.id)).toMatchObject({ state: 'withdrawn' })
    })

    test('a certificate that an admin issued approves and denies nothing, whoever it names', async () => {
      const { request } = await ask(dev, 'write')
      const issued = await signIn(boss.api, lead.person, (caller) => site.open(caller))
      expect(await issued.api.call('request', { params: { id: request.id } })).toMatchObject({
        mine: 'decide',
      })
      for (const decide of [approve, deny]) {
        await expect(decide(issued, request.id)).rejects.toMatchObject({
          code: 'not-allowed',
          message: expect.stringMatching(/a sign-in of your own/) as string,
          hint: expect.stringMatching(/sally login.*--oidc-issuer/) as string,
        })
      }
      expect(await approve(lead, request.id)).toMatchObject({ state: 'approved' })
    })

    test('a sign-in that ends between the look at it and the decision decides nothing', async () => {
      const { request } = await ask(dev, 'write')
      const leaving = await site.addSignedIn(
        `leaving-${engine}@example.test`,
        ['engineer'],
        ['leads'],
      )
      const { control } = site.running
      const { login } = await leaving.api.call('whoami')
      await leaving.api.call('logout', { body: {} })
      const { id, email } = leaving.person
      const actor = { ...{ id, email, remoteAddress: '', seesAll: false }, loginId: login!.id }
      const late = { code: 'not-allowed', clientMessage: 'your sign-in has ended' }
      const yes = approveRequest(control, actor, request.id, { comment: '' })
      await expect(yes).rejects.toMatchObject(late)
      await expect(denyRequest(control, actor, request.id, 'no')).rejects.toMatchObject(late)
      expect(await withdraw(dev, request.id)).toMatchObject({ decisions: [] })
    })

    test('a yes counts only while its giver could say it; then the rest is still wanted', async () => {
      const add = (name: string) =>
        site.addSignedIn(`${name}@example.test`, ['engineer'], ['leads'])
      const { state, realm } = site.running.control
      const [leaver, mover] = [await add('quitter'), await add('mover')]
      const { request } = await ask(dev, 'delete')
      await approve(leaver, request.id)
      const params = { id: leaver.person.id }
      await site.admin.call('personRevoke', { params, body: { reason: 'left' } })
      expect(await approve(mover, request.id)).toMatchObject({
        state: 'pending',
        decisions: [{ personEmail: 'quitter@example.test', lapsed: true }, {}],
      })
      const setGroups = (person: TestPerson, groups: string[]) =>
        state.query('update people set groups = $3 where realm = $1 and id = $2', [
          ...[realm, person.person.id, groups],
        ])
      await setGroups(mover, ['others'])
      expect(await approve(lead, request.id)).toMatchObject({
        state: 'pending',
        decisions: [{ lapsed: true }, { lapsed: true }, { personEmail: 'lead@example.test' }],
      })
      // Back in the group it waits for them again, and they say it again.
      await setGroups(mover, ['leads'])
      const waiting = await mover.api.call('requests', { query: { mine: 'decide' } })
      expect(waiting.items.map(({ id }) => id)).toContain(request.id)
      const approved = await approve(mover, request.id)
      expect(approved).toMatchObject({ state: 'approved' })
      const made = (await actions()).find(({ target }) => target === approved.grantId)
      expect(made!.details!['approvedBy']).toEqual(['lead@example.test', 'mover@example.test'])
    })

    test('who left the groups that may ask is granted nothing', async () => {
      const { state, realm } = site.running.control
      const mover = await site.addSignedIn('mover2@example.test', ['engineer'], ['engineers'])
      const { request } = await ask(mover, 'write')
      await state.query('update people set groups = $3 where realm = $1 and id = $2', [
        ...[realm, mover.person.id, ['others']],
      ])
      await expect(approve(lead, request.id)).rejects.toMatchObject({
        code: 'conflict',
        message: 'flow writing does not let mover2@example.test ask any more',
      })
      expect(await deny(lead, request.id)).toMatchObject({ state: 'denied' })
    })

    test('two approvals are of two people; each may allow less', async () => {
      const { request } = await ask(dev, 'delete', { forMs: hourMs })
      const half = await approve(lead, request.id, { level: 'write' })
      expect(half).toMatchObject({ state: 'pending', mine: 'watch' })
      expect(await approve(lead, request.id, { forMs: 60_000 })).toEqual(half)
      await expect(approve(lead2, request.id, { level: 'admin' })).rejects.toMatchObject({
        code: 'request-invalid',
      })
      await expect(approve(lead2, request.id, { forMs: 2 * hourMs })).rejects.toMatchObject({
        code: 'request-invalid',
      })
      const whole = await approve(lead2, request.id, { forMs: hourMs / 4 })
      expect(whole.state).toBe('approved')
      const grant = await dev.api.call('grant', { params: { id: whole.grantId! } })
      expect(grant).toMatchObject({ level: 'write' })
      expect(grant.expiresAtMs - grant.madeAtMs).toBe(hourMs / 4)
    })

    test('one no is the end', async () => {
      const { request } = await ask(dev, 'delete')
      await approve(lead, request.id)
      const denied = await deny(lead2, request.id)
      expect(denied).toMatchObject({ state: 'denied', grantId: null })
      expect(denied.decisions.at(-1)).toMatchObject({ verdict: 'deny', comment: 'not today' })
      expect(await deny(lead2, request.id)).toEqual(denied)
      await expect(approve(lead2, request.id)).rejects.toMatchObject({ code: 'conflict' })
      await expect(approve(lead, request.id)).rejects.toMatchObject({ code: 'conflict' })
      const noWords = await site.ask(lead, 'POST', `/v1/requests/${request.id}/deny`, {
        comment: '',
      })
      expect(noWords.status).toBe(400)
    })

    test('unanswered, it ends at its moment, and that is recorded once', async () => {
      const { request } = await ask(dev, 'write')
      site.clock.shiftMs = hourMs + 1_000
      const params = { id: request.id }
      expect(await dev.api.call('request', { params })).toMatchObject({
        state: 'expired',
        decidedAtMs: request.answerByMs,
      })
      await expect(approve(lead, request.id)).rejects.toMatchObject({ code: 'conflict' })
      await expect(withdraw(dev, request.id)).rejects.toMatchObject({ code: 'conflict' })
      const { control } = site.running
      await Promise.all([expireRequests(control), expireRequests(control)])
      expect(await expireRequests(control)).toBe(0)
      expect(await dev.api.call('request', { params })).toMatchObject({ state: 'expired' })
      const recorded = (await actions()).filter(({ target }) => target === request.id)
      expect(recorded.map(({ action }) => action)).toEqual(['request.expired', 'request.made'])
    })

    test('a change of the flows leaves what waits under its copy; groups count as they are now', async () => {
      const { request } = await ask(dev, 'write')
      const newcomer = await site.addSignedIn('newcomer@example.test', ['engineer'], ['newcomers'])
      const other = { kind: 'people' as const, count: 1, from: { groups: ['newcomers'] } }
      await applyFlows([flowNamed('writing', ['write'], 1, { approval: other })])
      await expect(approve(newcomer, request.id)).rejects.toMatchObject({ code: 'not-found' })
      const { state, realm } = site.running.control
      const setGroups = (groups: string[]) =>
        state.query('update people set groups = $3 where realm = $1 and id = $2', [
          realm,
          newcomer.person.id,
          groups,
        ])
      await setGroups(['leads'])
      expect(await newcomer.api.call('request', { params: { id: request.id } })).toMatchObject({
        mine: 'decide',
        flowsVersion: request.flowsVersion,
      })
      await setGroups([])
      await expect(approve(newcomer, request.id)).rejects.toMatchObject({ code: 'not-found' })
      expect(await approve(lead, request.id)).toMatchObject({ state: 'approved' })
      await applyFlows()
    })

    test('what is gone meanwhile cannot be approved, and says so', async () => {
      const { request } = await ask(dev, 'write')
      await applyResources(resourceNamed('other-db'))
      await site.admin.call('resourcesApply', {
        body: { file: { resources: [resourceNamed('hidden-db')] }, prune: true },
      })
      await expect(approve(lead, request.id)).rejects.toMatchObject({
        code: 'conflict',
        message: 'orders-db was removed meanwhile',
      })
      const { read } = resourceNamed('orders-db').levels
      const onlyRead = resourceNamed('orders-db', { levels: { read } })
      await site.admin.call('resourcesApply', { body: { file: { resources: [onlyRead] } } })
      await expect(approve(lead, request.id)).rejects.toMatchObject({ code: 'conflict' })
      // A level that is still there can be allowed instead.
      const approved = await approve(lead, request.id, { level: 'read' })
      expect(await dev.api.call('grant', { params: { id: approved.grantId! } })).toMatchObject({
        level: 'read',
      })
      await applyResources()
    })

    test('a person who is revoked meanwhile gets nothing and decides nothing', async () => {
      const leaver = await site.addPerson('leaver@example.test', ['engineer'], ['engineers'])
      const { request } = await ask(leaver, 'write')
      const params = { id: leaver.person.id }
      await site.admin.call('personRevoke', { params, body: { reason: 'left' } })
      await expect(approve(lead, request.id)).rejects.toMatchObject({ code: 'conflict' })
      expect(await lead.api.call('request', { params: { id: request.id } })).toMatchObject({
        state: 'pending',
        decisions: [],
      })
      expect(await deny(lead, request.id)).toMatchObject({ state: 'denied' })
    })
  })

  describe('more time', () => {
    const extend = ({ api }: TestPerson, id: string, byMs: number) =>
      api.call('extensionMake', { params: { id }, body: { byMs, reason: 'not done yet' } })

    test('automatic where the flow is; never past its longest from now', async () => {
      const { grant } = await ask(dev, 'read', { forMs: hourMs })
      const { request, grant: longer } = await extend(dev, grant!.id, hourMs)
      expect(request).toMatchObject({ kind: 'extension', state: 'approved', grantId: grant!.id })
      expect(longer).toMatchObject({ revision: 2, expiresAtMs: grant!.expiresAtMs + hourMs })
      await expect(extend(dev, grant!.id, 7 * hourMs)).rejects.toMatchObject({
        code: 'request-invalid',
      })
      for (const person of [lead, stranger, boss]) {
        await expect(extend(person, grant!.id, hourMs)).rejects.toMatchObject({ code: 'not-found' })
        await expect(
          person.api.call('grantGiveBack', { params: { id: grant!.id }, body: {} }),
        ).rejects.toMatchObject({ code: 'not-found' })
      }
      await dev.api.call('grantGiveBack', { params: { id: grant!.id }, body: { reason: 'done' } })
      await expect(extend(dev, grant!.id, hourMs)).rejects.toMatchObject({ code: 'conflict' })
    })

    test('waits for approval where the flow wants one, and only while the grant lives', async () => {
      const { request } = await ask(dev, 'write', { forMs: hourMs })
      const { grantId } = await approve(lead, request.id)
      const before = await dev.api.call('grant', { params: { id: grantId! } })
      const { request: longer, grant: none } = await extend(dev, grantId!, hourMs / 2)
      expect(none).toBeNull()
      await expect(approve(lead, longer.id, { level: 'read' })).rejects.toMatchObject({
        code: 'request-invalid',
      })
      expect(await approve(lead, longer.id, { forMs: hourMs / 4 })).toMatchObject({
        state: 'approved',
        grantId,
      })
      expect(await dev.api.call('grant', { params: { id: grantId! } })).toMatchObject({
        expiresAtMs: before.expiresAtMs + hourMs / 4,
        revision: 2,
      })
      const { request: late } = await extend(dev, grantId!, hourMs / 4)
      await dev.api.call('grantGiveBack', { params: { id: grantId! }, body: {} })
      await expect(approve(lead, late.id)).rejects.toMatchObject({ code: 'conflict' })
    })
  })

  test('lists show what is mine, what I may decide, and everything only to those who see all', async () => {
    const { request } = await ask(dev, 'write')
    const list = async (person: TestPerson, mine: 'all' | 'decide' | 'asked') =>
      (await person.api.call('requests', { query: { mine, limit: 1_000 } })).items
        .filter(({ id }) => id === request.id)
        .map((each) => each.mine)
    expect(await list(dev, 'asked')).toEqual(['asked'])
    expect(await list(dev, 'decide')).toEqual([])
    expect(await list(lead, 'decide')).toEqual(['decide'])
    expect(await list(lead2, 'all')).toEqual(['decide'])
    expect(await list(lead, 'asked')).toEqual([])
    expect(await list(stranger, 'all')).toEqual([])
    expect(await list(auditor, 'all')).toEqual(['watch'])
    expect(await list(boss, 'all')).toEqual(['watch'])
    expect(await list(boss, 'decide')).toEqual([])
    await approve(lead, request.id)
    expect(await list(lead, 'decide')).toEqual([])
    const all = await dev.api.call('requests', { query: { state: 'all', limit: 1_000 } })
    expect(new Set(all.items.map(({ personEmail }) => personEmail))).toEqual(
      new Set(['dev@example.test']),
    )
    const seen: string[] = []
    for (let next: string | null | undefined; next !== null;) {
      const page: { items: { id: string }[]; next: string | null } = await dev.api.call(
        'requests',
        { query: { state: 'all', limit: 3, ...(next === undefined ? {} : { cursor: next }) } },
      )
      seen.push(...page.items.map(({ id }) => id))
      next = page.next
    }
    expect(seen).toEqual(all.items.map(({ id }) => id))
  })

  test('an auditor whom a flow names neither asks nor decides, and is shown no way to', async () => {
    const both = await site.addSignedIn('reader@example.test', ['auditor'], ['engineers', 'leads'])
    const { request } = await ask(dev, 'write')
    await expect(approve(both, request.id)).rejects.toMatchObject({ code: 'not-allowed' })
    await expect(ask(both, 'read')).rejects.toMatchObject({ code: 'not-allowed' })
    const { items } = await both.api.call('requests', { query: { mine: 'all' } })
    expect(items.find(({ id }) => id === request.id)).toMatchObject({ mine: 'watch' })
    expect((await both.api.call('requests', { query: { mine: 'decide' } })).items).toEqual([])
    const seen = await both.api.call('resources')
    expect(seen.items.map(({ ask: could }) => could)).toEqual(seen.items.map(() => []))
  })

  test('of several who decide at once, one outcome is left, and at most one grant', async () => {
    for (let round = 0; round < 8; round += 1) {
      const { request } = await ask(dev, 'write')
      const outcomes = await Promise.allSettled([
        approve(lead, request.id),
        round % 3 === 0 ? deny(lead2, request.id) : approve(lead2, request.id),
        round % 2 === 0 ? withdraw(dev, request.id) : approve(lead, request.id),
      ])
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected')
          expect(outcome.reason).toMatchObject({ code: 'conflict' })
      }
      const after = await dev.api.call('request', { params: { id: request.id } })
      const made = await site.running.control.state.query<{ id: string }>(
        'select id from grants where request_id = $1',
        [request.id],
      )
      expect(made.map(({ id }) => id)).toEqual(after.state === 'approved' ? [after.grantId] : [])
      expect(['approved', 'denied', 'withdrawn']).toContain(after.state)
    }
  })

  test('the chain verifies', async () => {
    expect((await verifyControlChain(auditor.api, 'with')).damage).toEqual([])
  })
})
