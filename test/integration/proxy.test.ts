/** A whole proxy against a real PostgreSQL, with the real client; only control is a fake, so that it can be taken away. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { resource as resourceShape } from '../../control/api/resource.ts'
import { sealedSecretsIn, writeSealedSecrets } from '../../control/api/sealed-secrets.ts'
import type { SessionClosedMeta, SessionOpenedMeta } from '../../control/api/audit/format.ts'
import { completeConfig } from '../../proxy/config.ts'
import { createLog } from '../../proxy/observe/log.ts'
import { startProxy, type RunningProxy } from '../../proxy/start-proxy.ts'
import { createFakeControl, type FakeControl } from '../fakes/control.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

let directory: string
let postgres: PostgresServer
let control: FakeControl
let proxy: RunningProxy
let databaseUrl: string
let dev: Awaited<ReturnType<FakeControl['person']>>
const dataDir = (): string => join(directory, 'proxy')

async function start(): Promise<RunningProxy> {
  const started = await startProxy({
    config: completeConfig({
      dataDir: dataDir(),
      controlUrl: control.url(),
      joinTokenFile: join(directory, 'token'),
      listen: { postgres: '127.0.0.1:0' },
      limits: { confirmMs: 500, drainMs: 1_500 },
    }),
    log: createLog('silent'),
  })
  await started.ready()
  return started
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-proxy-'))
  postgres = await startPostgresServer('scram-sha-256')
  databaseUrl = await postgres.createDatabase()
  control = await createFakeControl()
  dev = await control.person('dev@example.test')
  writeFileSync(join(directory, 'token'), control.joinToken(), { mode: 0o600 })
  writeFileSync(join(directory, 'cert.pem'), dev.certificatePem)
  writeFileSync(join(directory, 'key.pem'), dev.privateKeyPem, { mode: 0o600 })
  writeFileSync(join(directory, 'ca.pem'), control.proxiesAuthorityPem)
  const { file, keyFile } = sealedSecretsIn(dataDir())
  writeSealedSecrets(file, keyFile, new Map([['db/read', 'postgres']]))
  writeFileSync(
    join(dataDir(), 'policy.yaml'),
    `secrets:\n  - reference: "sealed:db/*"\n    addresses: ["127.0.0.1:${postgres.port}"]\n    tls: disable\n`,
  )
  for (const [name, policy] of [
    ['orders-db', 'keep'],
    ['strict-db', 'cut'],
  ]) {
    control.publish({
      kind: 'resource',
      resource: resourceShape.parse({
        name,
        protocol: 'postgres',
        address: { host: '127.0.0.1', port: postgres.port },
        tls: { mode: 'disable' },
        levels: { read: { account: 'postgres', secret: 'sealed:db/read', durability: 'written' } },
        outage: { policy, graceMs: 1_500 },
        warnBeforeMs: [1_500],
      }),
    })
  }
  proxy = await start()
})
afterAll(async () => {
  await proxy?.stop(0)
  await control?.stop()
  await postgres?.stop()
  rmSync(directory, { recursive: true, force: true })
})

function psql(sql: string, resource = 'orders-db') {
  const startedAtMs = performance.now()
  const child = spawn(
    'psql',
    [
      '-XAt',
      `host=${resource}.${control.domain} hostaddr=127.0.0.1 port=${proxy.ports.postgres} dbname=postgres ` +
        `user=dev sslmode=verify-full sslrootcert=${directory}/ca.pem sslcert=${directory}/cert.pem ` +
        `sslkey=${directory}/key.pem`,
      '-c',
      sql,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] } },
  )
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const done = new Promise<{ code: number | null; stdout: string; stderr: string; ms: number }>(
    (resolve) =>
      child.on('close', (code) =>
        resolve({ code, stdout, stderr, ms: performance.now() - startedAtMs }),
      ),
  )
  return { done }
}

const live = (count: number) => expect.poll(() => proxy.sessions, { interval: 5 }).toBe(count)
/** Backends that sleep, as the server itself sees them. */
async function sleeping(): Promise<number> {
  const client = new Client(databaseUrl)
  await client.connect()
  const { rowCount } = await client.query(
    "select 1 from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'",
  )
  await client.end()
  return rowCount ?? 0
}
const closedOf = (sessionId: string | undefined) =>
  control.entries.find((entry) => entry.type === 'session-closed' && entry.sessionId === sessionId)

const areAlike = (ms: { unknown: number; forbidden: number }): boolean =>
  Math.abs(ms.unknown - ms.forbidden) < 150

describe('a proxy', () => {
  it('refuses the unknown and the forbidden alike', async () => {
    const unknown = await psql('select 1', 'nothing-db').done
    const forbidden = await psql('select 1').done
    expect(unknown.stderr.replaceAll('nothing-db', 'orders-db')).toBe(forbidden.stderr)
    expect(forbidden.stderr).toContain('access to "orders-db" is not granted')
    // The quickest of each: a start of psql on a busy machine only ever adds.
    const quickest = { unknown: unknown.ms, forbidden: forbidden.ms }
    for (let tries = 0; tries < 10 && !areAlike(quickest); tries += 1) {
      const next = await psql('select 1', 'nothing-db').done
      quickest.unknown = Math.min(quickest.unknown, next.ms)
      quickest.forbidden = Math.min(quickest.forbidden, (await psql('select 1').done).ms)
    }
    expect(quickest).toSatisfy(areAlike)
  })

  it('lets in under a grant, warns, cuts at its end, and proves it', async () => {
    const claims = await control.grant(dev.personId, 'orders-db', 3_000)
    expect(await psql('select 41 + 1').done).toMatchObject({ code: 0, stdout: '42\n' })
    const { stderr, code } = await psql('select pg_sleep(60)').done
    expect(code).not.toBe(0)
    expect(stderr).toMatch(/NOTICE: .*ends in 1s/)
    expect(stderr).toMatch(/FATAL: .*your access to "orders-db" has ended/)
    await live(0)
    await expect
      .poll(() => control.entries.filter((e) => e.type === 'session-closed').length)
      .toBe(2)
    const opened = control.entries.findLast((entry) => entry.type === 'session-opened')!
    expect(JSON.parse(opened.meta) as SessionOpenedMeta).toMatchObject({
      personId: dev.personId,
      grantId: claims.grantId,
      admittedBy: 'control',
    })
    const { cut } = JSON.parse(closedOf(opened.sessionId)!.meta) as SessionClosedMeta
    expect(cut).toMatchObject({ reason: 'grant-expired', orderedAtMs: claims.expiresAtMs })
    expect(cut!.lastByteAtMs - claims.expiresAtMs).toBeLessThan(1_000)
  })

  it('cuts on a revocation, and keeps an outage within its bounds', async () => {
    const claims = await control.grant(dev.personId, 'orders-db', 60_000)
    const strictClaims = await control.grant(dev.personId, 'strict-db', 60_000)
    const running = psql('select pg_sleep(60)')
    const strict = psql('select pg_sleep(60)', 'strict-db')
    await live(2)
    await control.stop()
    // `cut` ends after its grace; `keep` goes on, and takes new sessions under the lease.
    expect((await strict.done).stderr).toContain('control cannot be reached')
    expect(await psql('select 1').done).toMatchObject({ code: 0, stdout: '1\n' })
    expect((await psql('select 1', 'strict-db').done).stderr).toContain('control cannot be reached')
    expect(proxy.isReady()).toBe(true)
    // Made on the other side of the outage, it takes effect when the feed is back.
    control.revoke(claims)
    control.revoke(strictClaims)
    await control.start()
    const { stderr, ms } = await running.done
    expect(stderr).toContain('your access to "orders-db" was revoked')
    expect(ms).toBeLessThan(30_000)
    expect((await psql('select 1').done).stderr).toContain('is not granted')
  })

  it('takes up its work after a restart in an outage, and honours what was revoked', async () => {
    const kept = await control.grant(dev.personId, 'orders-db', 60_000)
    const revoked = await control.grant(dev.personId, 'strict-db', 60_000)
    control.revoke(revoked)
    await psql('select 1').done
    await control.stop()
    await proxy.stop(0)
    proxy = await start()
    expect(await psql('select 1').done).toMatchObject({ code: 0 })
    expect((await psql('select 1', 'strict-db').done).stderr).toContain('is not granted')
    await control.start()
    control.revoke(kept)
    await expect.poll(async () => (await psql('select 1').done).code).not.toBe(0)
  })

  it('drains: tells, waits, cuts, and ships what it recorded', async () => {
    await control.grant(dev.personId, 'orders-db', 60_000)
    const patient = psql('select pg_sleep(60)')
    await expect.poll(sleeping).toBe(1)
    const stopping = proxy.stop()
    expect(proxy.isReady()).toBe(false)
    expect((await psql('select 1').done).code).not.toBe(0)
    const { stderr } = await patient.done
    expect(stderr).toMatch(/NOTICE: .*being stopped/)
    expect(stderr).toMatch(/FATAL: .*being stopped/)
    await stopping
    await wait(50)
    const last = control.entries.findLast((entry) => entry.type === 'session-opened')!
    expect(await sleeping()).toBe(0)
    const closed = JSON.parse(closedOf(last.sessionId)!.meta) as SessionClosedMeta
    expect(closed.reason).toBe('proxy-draining')
  })
})
