/** Two replicas of control decide a thousand requests on one PostgreSQL, several people each request, all at once. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AccessRequest } from '../../control/api/request.ts'
import type { Control } from '../../control/control.ts'
import { approveRequest, denyRequest } from '../../control/requests/decide-request.ts'
import { makeRequest } from '../../control/requests/make-request.ts'
import { withdrawRequest } from '../../control/requests/withdraw-request.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { allLevels, flowNamed } from './requests-fixture.ts'
import { resourceNamed, startTestControl, type RunningSite } from './running-control.ts'
import { verifyControlChain } from './verify-control-chain.ts'

const levels = ['read', 'write', 'delete', 'admin'] as const
const peopleCount = 25
const resourcesCount = 10
const total = peopleCount * resourcesCount * levels.length
const workers = 12

let server: PostgresServer
let directory: string
let sites: [RunningSite, RunningSite]
let controls: [Control, Control]
beforeAll(async () => {
  server = await startPostgresServer()
  directory = mkdtempSync(join(tmpdir(), 'sallyport-request-replicas-'))
  const shared = {
    databaseUrl: await server.createDatabase(),
    sealingKeyFile: join(directory, 'sealing.key'),
  }
  sites = [await startTestControl(shared), await startTestControl(shared)]
  controls = [sites[0].running.control, sites[1].running.control]
})
afterAll(async () => {
  for (const site of sites ?? []) await site.close()
  await server.stop()
  rmSync(directory, { recursive: true, force: true })
})

async function inParallel<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const work = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await run(item)
  }
  await Promise.all(Array.from({ length: workers }, work))
}

test('no double grant, and no decision that was answered is lost', async () => {
  const { admin } = sites[0]
  const resources = Array.from({ length: resourcesCount }, (_, index) => `db${index}`)
  await admin.call('resourcesApply', {
    body: {
      file: { resources: resources.map((one) => resourceNamed(one, { levels: allLevels })) },
    },
  })
  const about = { resources: { names: resources } }
  await admin.call('flowsApply', {
    body: {
      flows: [
        flowNamed('one', ['read', 'write'], 1, about),
        flowNamed('two', ['delete', 'admin'], 2, about),
      ],
    },
  })
  const add = async (name: string, groups: string[]) => {
    const email = `${name}@example.test`
    const { id } = await admin.call('personCreate', { body: { email, groups } })
    return { id, email, remoteAddress: '10.0.0.1', seesAll: false }
  }
  const devs = await Promise.all(
    Array.from({ length: peopleCount }, (_, index) => add(`dev${index}`, ['engineers'])),
  )
  const leads = await Promise.all(['lea', 'leo', 'lia'].map((name) => add(name, ['leads'])))
  const [lea, leo, lia] = leads as [(typeof leads)[0], (typeof leads)[0], (typeof leads)[0]]

  const asks = devs.flatMap((dev) =>
    resources.flatMap((resource) => levels.map((level) => ({ dev, resource, level }))),
  )
  const made: { request: AccessRequest; dev: (typeof devs)[number] }[] = []
  await inParallel([...asks.entries()], async ([index, { dev, resource, level }]) => {
    const ask = { resource, level, reason: 'x' }
    // Twice at once, of both replicas: one of them is asked in vain.
    const both = await Promise.allSettled([
      makeRequest(controls[index % 2]!, dev, ask),
      ...(index % 10 === 0 ? [makeRequest(controls[(index + 1) % 2]!, dev, ask)] : []),
    ])
    const kept = both.flatMap((one) => (one.status === 'fulfilled' ? [one.value.request] : []))
    expect(kept).toHaveLength(1)
    made.push({ request: kept[0]!, dev })
  })
  expect(made).toHaveLength(total)

  /** What was answered with yes, by request. */
  const answered = new Map<string, string[]>()
  await inParallel([...made.entries()], async ([index, { request, dev }]) => {
    const { id } = request
    const [one, two] = index % 2 === 0 ? controls : [controls[1], controls[0]]
    const terms = { comment: '' }
    const said: string[] = []
    const say = async (what: string, deciding: Promise<unknown>): Promise<void> => {
      try {
        await deciding
        said.push(what)
      } catch (error) {
        if (!(error instanceof SallyportError) || error.code !== 'conflict') throw error
      }
    }
    const yes = (control: Control, lead: typeof lea) =>
      say(`approve ${lead.id}`, approveRequest(control, lead, id, terms))
    const more = {
      0: () => [yes(two, leo)],
      1: () => [yes(two, leo), say(`deny ${lia.id}`, denyRequest(two, lia, id, 'no'))],
      2: () => [yes(two, leo), say('withdraw', withdrawRequest(two, dev, id, ''))],
      // The same person through both is one yes.
      3: () => [yes(two, lea)],
      4: () => [yes(two, leo), yes(one, lia), yes(two, lia)],
    }[index % 5]!
    await Promise.all([yes(one, lea), ...more()])
    answered.set(id, [...new Set(said)])
  })

  const { state, realm } = controls[0]
  const rows = await state.query<{
    id: string
    state: string
    level: string
    grantId: string | null
    decisions: { personId: string; verdict: string }[]
    grants: string[]
  }>(
    `select r.id, r.state, r.level, r.grant_id as "grantId", r.decisions,
       array(select g.id::text from grants g where g.request_id = r.id) as grants
     from requests r where r.realm = $1`,
    [realm],
  )
  expect(rows).toHaveLength(total)
  const counts: Record<string, number> = {}
  for (const row of rows) {
    counts[row.state] = (counts[row.state] ?? 0) + 1
    const kept = row.decisions.map(({ personId, verdict }) => `${verdict} ${personId}`)
    if (row.state === 'withdrawn') kept.push('withdraw')
    // Each answer is kept, and nothing is kept twice or without an answer.
    expect(kept.toSorted()).toEqual(answered.get(row.id)!.toSorted())
    const yes = new Set(
      row.decisions.filter(({ verdict }) => verdict === 'approve').map(({ personId }) => personId),
    )
    const needed = row.level === 'read' || row.level === 'write' ? 1 : 2
    if (row.state === 'approved') expect(yes.size).toBe(needed)
    else expect(yes.size).toBeLessThan(needed)
    expect(row.grants).toEqual(row.state === 'approved' ? [row.grantId] : [])
    expect(kept.some((one) => one.startsWith('deny'))).toBe(row.state === 'denied')
  }
  expect(Object.keys(counts).sort()).toEqual(['approved', 'denied', 'pending', 'withdrawn'])
  // Each grant went into the feed once, and every decision into the chain.
  const [fed] = await state.query<{ count: number }>(
    `select count(*) as count from feed where realm = $1 and kind = 'grant'`,
    [realm],
  )
  expect(fed!.count).toBe(counts['approved'])
  const report = await verifyControlChain(admin, 'without')
  expect(report.damage).toEqual([])
  const [chained] = await state.query<{ count: number }>(
    `select count(*) as count from control_chain where realm = $1
       and position('"request.'::bytea in skeleton) > 0`,
    [realm],
  )
  const decisions = [...answered.values()].flat().length
  expect(chained!.count).toBe(total + decisions)
}, 300_000)
