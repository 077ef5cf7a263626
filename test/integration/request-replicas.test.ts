/**
 * Two replicas of control, each a process of its own, decide some three hundred requests (`SALLYPORT_LONG=1`: a thousand) on one
 * PostgreSQL: several people each request, all at once, over HTTP by connections that stay open.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { createApiClient, type ApiClient } from '../../control/api/client.ts'
import type { AccessRequest } from '../../control/api/request.ts'
import { readHome } from '../../control/cli/home.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { startProviderSite, type ProviderSite } from '../fakes/provider-site.ts'
import { startControlProcess, type ControlProcess } from '../faults/control-process.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { allLevels, flowNamed } from './requests-fixture.ts'
import { resourceNamed, signIn, type TestCaller } from './running-control.ts'
import { verifyControlChain } from './verify-control-chain.ts'

const levels = ['read', 'write', 'delete', 'admin'] as const
const peopleCount = process.env['SALLYPORT_LONG'] === '1' ? 25 : 8
const resourcesCount = 10
const total = peopleCount * resourcesCount * levels.length
const workers = 12

let server: PostgresServer
let directory: string
let database: Client
let provider: ProviderSite
let admin: ApiClient
let authorityPem: string
const replicas: ControlProcess[] = []
const opened: ApiClient[] = []
beforeAll(async () => {
  server = await startPostgresServer()
  directory = mkdtempSync(join(tmpdir(), 'sallyport-request-replicas-'))
  provider = await startProviderSite('demo')
  const { issuer, clientId, clientSecretFile, caFile } = provider.settings
  const databaseUrl = await server.createDatabase()
  const sealingKey = join(directory, 'sealing.key')
  writeFileSync(sealingKey, randomBytes(32), { mode: 0o600 })
  for (const name of ['one', 'two']) {
    const environment = {
      DATABASE_URL: databaseUrl,
      SALLYPORT_SEALING_KEY_FILE: sealingKey,
      SALLYPORT_OIDC_ISSUER: issuer,
      SALLYPORT_OIDC_CLIENT_ID: clientId,
      SALLYPORT_OIDC_CLIENT_SECRET_FILE: clientSecretFile!,
      SALLYPORT_OIDC_CA_FILE: caFile!,
    }
    replicas.push(await startControlProcess({ directory: join(directory, name), environment }))
  }
  admin = replicas[0]!.openAdmin()
  opened.push(admin)
  authorityPem = readFileSync(
    readHome({ SALLY_HOME: join(directory, 'one/home') }).files.controlAuthority,
    'utf8',
  )
  database = new Client({ connectionString: databaseUrl, options: '-c search_path=state' })
  await database.connect()
})
afterAll(async () => {
  for (const api of opened) api.close()
  await database?.end()
  for (const each of replicas) expect(await each.end('SIGTERM')).toBe(0)
  await provider?.close()
  await server?.stop()
  rmSync(directory, { recursive: true, force: true })
})

interface Deciding {
  readonly id: string
  /** The same person at each of the two. */
  readonly at: readonly [ApiClient, ApiClient]
}

/** Connections of the same person to both. */
function openBoth(caller: Required<TestCaller>): [ApiClient, ApiClient] {
  const [one, two] = replicas.map(({ url }) =>
    createApiClient({ baseUrl: url, authorityPem, ...caller }),
  )
  opened.push(one!, two!)
  return [one!, two!]
}

async function addEngineer(name: string): Promise<Deciding> {
  const body = { email: `${name}@example.test`, groups: ['engineers'] }
  const person = await admin.call('personCreate', { body })
  const { certificatePem, privateKeyPem } = await signIn(
    admin,
    person,
    (caller) => openBoth(caller)[0],
  )
  return { id: person.id, at: openBoth({ certificatePem, privateKeyPem }) }
}

/** Signs in at the provider: who decides has to. */
async function addLead(name: string): Promise<Deciding> {
  const account = { email: `${name}@example.test`, name, password: name, groups: ['leads'] }
  provider.accounts.push(account)
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const anyone = createApiClient({ baseUrl: replicas[0]!.url, authorityPem })
  opened.push(anyone)
  const redirectUri = 'http://127.0.0.1:61234/callback'
  const begun = await anyone.call('loginCode', { body: { requestPem, redirectUri } })
  const page = await provider.signIn(begun.authorizationUrl, account.email)
  const { code, state, iss } = Object.fromEntries(new URL(page.url).searchParams)
  const { certificate } = await anyone.call('loginCodeFinish', {
    params: { id: begun.id },
    body: { secret: begun.secret, code: code!, state: state!, iss: iss! },
  })
  const at = openBoth({ certificatePem: certificate.certificatePem, privateKeyPem })
  return { id: (await at[0].call('whoami')).person.id, at }
}

async function inParallel<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const work = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await run(item)
  }
  await Promise.all(Array.from({ length: workers }, work))
}

test('no double grant, and no decision that was answered is lost', async () => {
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
  const devs = await Promise.all(
    Array.from({ length: peopleCount }, (_, index) => addEngineer(`dev${index}`)),
  )
  const lea = await addLead('lea')
  const leo = await addLead('leo')
  const lia = await addLead('lia')

  // By resource first, so that each person asks a few things at a time and needs few connections.
  const asks = resources.flatMap((resource) =>
    levels.flatMap((level) => devs.map((dev) => ({ dev, resource, level }))),
  )
  const made: { request: AccessRequest; dev: Deciding }[] = []
  await inParallel([...asks.entries()], async ([index, { dev, resource, level }]) => {
    const body = { resource, level, reason: 'x' }
    const ask = (which: number) => dev.at[which % 2]!.call('requestMake', { body })
    // Twice at once, of both replicas: one of them is asked in vain.
    const both = await Promise.allSettled([
      ask(index),
      ...(index % 10 === 0 ? [ask(index + 1)] : []),
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
    const [one, two] = index % 2 === 0 ? [0, 1] : [1, 0]
    const params = { id }
    const said: string[] = []
    const say = async (what: string, deciding: Promise<unknown>): Promise<void> => {
      try {
        await deciding
        said.push(what)
      } catch (error) {
        if (!(error instanceof SallyportError) || error.code !== 'conflict') throw error
      }
    }
    const yes = (which: number, lead: Deciding) =>
      say(`approve ${lead.id}`, lead.at[which]!.call('requestApprove', { params, body: {} }))
    const no = () => lia.at[two]!.call('requestDeny', { params, body: { comment: 'no' } })
    const back = () => dev.at[two]!.call('requestWithdraw', { params, body: {} })
    const more = {
      0: () => [yes(two, leo)],
      1: () => [yes(two, leo), say(`deny ${lia.id}`, no())],
      2: () => [yes(two, leo), say('withdraw', back())],
      // The same person through both is one yes.
      3: () => [yes(two, lea)],
      4: () => [yes(two, leo), yes(one, lia), yes(two, lia)],
    }[index % 5]!
    await Promise.all([yes(one, lea), ...more()])
    answered.set(id, [...new Set(said)])
  })

  const { rows } = await database.query<{
    id: string
    state: string
    level: string
    grantId: string | null
    decisions: { personId: string; verdict: string }[]
    grants: string[]
  }>(
    `select r.id, r.state, r.level, r.grant_id as "grantId", r.decisions,
       array(select g.id::text from grants g where g.request_id = r.id) as grants
     from requests r`,
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
  const count = async (of: string): Promise<number> =>
    (await database.query<{ count: number }>(`select count(*)::int as count from ${of}`)).rows[0]!
      .count
  expect(await count(`feed where kind = 'grant'`)).toBe(counts['approved'])
  const report = await verifyControlChain(admin, 'without')
  expect(report.damage).toEqual([])
  const decisions = [...answered.values()].flat().length
  const actions = await count(`control_chain where position('"request.'::bytea in skeleton) > 0`)
  expect(actions).toBe(total + decisions)
}, 300_000)
